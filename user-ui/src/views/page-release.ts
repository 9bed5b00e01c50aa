/** What the deploy wrote beside the page; a server that has no such file answers with the page. */
export async function pageRelease(): Promise<string> {
  try {
    const answer = await fetch("/version.txt");
    const text = answer.ok ? (await answer.text()).trim() : "";
    return /^\d{8}T\d{6}Z-[0-9a-f]{12}$/.test(text) ? text : "";
  } catch {
    return "";
  }
}
