/**
 * The release in `version.txt`, in which a deploy writes it, or "" in a checkout. Its form is
 * checked, since a server without that file answers with the page itself.
 */
export async function pageRelease(): Promise<string> {
  try {
    const answer = await fetch("/version.txt");
    const text = answer.ok ? (await answer.text()).trim() : "";
    return /^\d{8}T\d{6}Z-[0-9a-f]{12}$/.test(text) ? text : "";
  } catch {
    return "";
  }
}
