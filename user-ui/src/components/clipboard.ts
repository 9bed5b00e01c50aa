/** Copy `text`; pages served over plain http have no clipboard API, so fall back to a selection. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.readOnly = true;
    document.body.append(field);
    field.select();
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- The only way over plain http.
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
