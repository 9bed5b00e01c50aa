/** A refused or failed request. `detail` is a sentence to show as it is. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    /** The HTTP status; 0 when there was no answer. */
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

/** The problem in a response (RFC 9457), or a generic one when the body is something else. */
export async function problemOf(response: Response): Promise<Problem> {
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    // A proxy's error page: only its status is of use.
  }
  const { code, detail } = (body ?? {}) as { code?: unknown; detail?: unknown };
  return new Problem(
    response.status,
    typeof code === "string" ? code : `http-${response.status}`,
    typeof detail === "string" && detail !== ""
      ? detail
      : `The request failed (${response.status}). Try again in a moment.`,
  );
}

/** The sentence to show for a thrown error. */
export function sentence(error: unknown): string {
  return error instanceof Problem ? error.detail : "Something went wrong on this page. Reload it.";
}
