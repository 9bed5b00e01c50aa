/** Files that a user attaches to a message: what the agent takes, and how they are made to fit. */

import type { WireFile } from "../api/generated";

export const MAX_FILES = 10;
/** Of all files of one message; the server and OpenClaw refuse more. */
export const MAX_BYTES = 18 * 1024 * 1024;
/** Of one picture; OpenClaw refuses more. */
export const MAX_PICTURE_BYTES = 6 * 1024 * 1024;
/** The types of pictures that models read. */
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const LONGEST_SIDE_PX = 3_000;
const JPEG_QUALITY = 0.9;
const MAX_NAME = 200;

export const LIMITS_TEXT = `Up to ${MAX_FILES} files, ${sizeText(MAX_BYTES)} together; pictures up to ${sizeText(MAX_PICTURE_BYTES)} each.`;

/** A file of a message on this page; one that is not sent yet has its bytes in `FileStorage`. */
export interface MessageFile extends WireFile {
  readonly type?: string;
  readonly size?: number;
}

export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const inKb = bytes / 1024;
  if (inKb < 1000) return `${Math.round(inKb)} KB`;
  const inMb = inKb / 1024;
  return `${inMb < 10 && !Number.isInteger(inMb) ? inMb.toFixed(1) : Math.round(inMb)} MB`;
}

export function kindOf(type: string): WireFile["kind"] {
  if (PICTURES.has(type)) return "image";
  const kind = type.split("/")[0];
  return kind === "audio" || kind === "video" ? kind : "document";
}

/** A file's type as the agent is told it; browsers leave it empty for what they do not know. */
export function typeOf(file: File): string {
  const type = (file.type.split(";")[0] ?? "").trim().toLowerCase();
  return /^[\w.+-]+\/[\w.+-]+$/.test(type) && type.length <= 127
    ? type
    : "application/octet-stream";
}

export function nameOf(file: File): string {
  return file.name.trim().slice(0, MAX_NAME) || "file";
}

/** The files as a message shows them; pictures from this page, until the history has addresses. */
export function described(files: readonly File[]): MessageFile[] {
  return files.map((file) => {
    const type = typeOf(file);
    const kind = kindOf(type);
    const url = kind === "image" ? URL.createObjectURL(file) : null;
    return { kind, name: nameOf(file), url, type, size: file.size };
  });
}

export function totalOf(files: readonly File[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

export interface Chosen {
  readonly files: readonly File[];
  /** Why others are not among them, one sentence each. */
  readonly problems: readonly string[];
}

/** A file as the agent takes it, or why it does not. */
export interface Fitted {
  readonly name: string;
  readonly fitting: File | string;
}

/** `added` as the agent takes them. Pictures are converted and made smaller if need be. */
export async function fitted(
  added: readonly File[],
  convert: (file: File) => Promise<File | null> = asJpeg,
): Promise<Fitted[]> {
  const all: Fitted[] = [];
  // One by one: a picture that is converted takes much memory.
  for (const file of added) all.push({ name: nameOf(file), fitting: await fit(file, convert) });
  return all;
}

/** `present` and as many of `added` as a message can have. */
export function choose(present: readonly File[], added: readonly Fitted[]): Chosen {
  const files = [...present];
  const problems: string[] = [];
  for (const { name, fitting } of added) {
    if (typeof fitting === "string") problems.push(fitting);
    else if (files.length >= MAX_FILES) {
      problems.push(`${name} was left out: a message can have ${MAX_FILES} files.`);
    } else if (totalOf(files) + fitting.size > MAX_BYTES) {
      problems.push(
        `${name} was left out: the files of a message can have ${sizeText(MAX_BYTES)} together. Upload larger ones under Agent → Files.`,
      );
    } else files.push(fitting);
  }
  return { files, problems };
}

async function fit(
  file: File,
  convert: (file: File) => Promise<File | null>,
): Promise<File | string> {
  const name = nameOf(file);
  if (file.size === 0) return `${name} is empty, or a folder.`;
  const type = typeOf(file);
  if (!type.startsWith("image/")) return file;
  if (PICTURES.has(type) && file.size <= MAX_PICTURE_BYTES) return file;
  const converted = await convert(file);
  if (converted !== null && converted.size <= MAX_PICTURE_BYTES) return converted;
  return PICTURES.has(type)
    ? `${name} has ${sizeText(file.size)}: pictures can have ${sizeText(MAX_PICTURE_BYTES)}. Make it smaller.`
    : `${name} is a picture of a type that models do not read. Save it as PNG or JPEG.`;
}

/** The picture as a JPEG that is no larger than models need; null if this browser cannot read it. */
async function asJpeg(file: File): Promise<File | null> {
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST_SIDE_PX / Math.max(picture.width, picture.height));
    const canvas = new OffscreenCanvas(
      Math.max(1, Math.round(picture.width * scale)),
      Math.max(1, Math.round(picture.height * scale)),
    );
    canvas.getContext("2d")?.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
    return new File([blob], `${nameOf(file).replace(/\.\w+$/, "")}.jpg`, { type: "image/jpeg" });
  } catch {
    return null;
  }
}

/** Whether a drag or a paste has files, not only text. */
export function filesIn(data: DataTransfer | null): File[] {
  return [...(data?.files ?? [])];
}
