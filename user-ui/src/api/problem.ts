/** A refused or failed request, with a sentence that can be shown to people as it is. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    /** The HTTP status; 0 when no answer came at all. */
    readonly status: number,
    readonly code: string,
    readonly detail: string,
  ) {
    super(detail);
  }
}

export function unreachable(): Problem {
  return new Problem(
    0,
    "unreachable",
    "No answer from the server. Check your connection and try again.",
  );
}

/** The problem a response carries (RFC 9457), or a plain one where something else answered. */
export async function problemOf(response: Response): Promise<Problem> {
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    // A proxy's error page: the status says what there is to say.
  }
  const { code, detail } = (body ?? {}) as { code?: unknown; detail?: unknown };
  return new Problem(
    response.status,
    typeof code === "string" ? code : `http-${response.status}`,
    typeof detail === "string" && detail !== ""
      ? detail
      : `The server could not do this (${response.status}). Try again in a moment.`,
  );
}

/** The sentence to show for anything that was thrown. */
export function sentence(error: unknown): string {
  return error instanceof Problem ? error.detail : "Something went wrong here. Reload the page.";
}
