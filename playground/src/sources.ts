/** The sources of requests, by the URI of their upload: dropped files, and what the server still has. */

import { download } from "./api";

const UPLOAD = "rotoscope://uploads/";
const shown = new Map<string, { url: string; name: string }>();

export function rememberFile(uri: string, file: File): void {
  shown.set(uri, { url: URL.createObjectURL(file), name: file.name });
}

export const fileUrl = (uri: string): string | undefined => shown.get(uri)?.url;
export const fileName = (uri: string): string | undefined => shown.get(uri)?.name;

/** What can be shown beside a result at once: a file that is here, or an https URL as it is. */
export function showable(uri: unknown): string | undefined {
  if (typeof uri !== "string") return undefined;
  return fileUrl(uri) ?? (uri.startsWith("https://") ? uri : undefined);
}

export const isUpload = (uri: unknown): uri is string => typeof uri === "string" && uri.startsWith(UPLOAD);

/** Fetch an earlier upload from the server, to be shown. */
export async function fetchUpload(uri: string): Promise<string> {
  const url = URL.createObjectURL(await download(uri.slice(UPLOAD.length)));
  shown.set(uri, { url, name: "An earlier upload" });
  return url;
}
