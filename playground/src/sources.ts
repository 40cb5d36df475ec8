/** Files that were dropped here, by the URI of their upload: shown beside results while the page is open. */

const shown = new Map<string, { url: string; name: string }>();

export function rememberFile(uri: string, file: File): void {
  shown.set(uri, { url: URL.createObjectURL(file), name: file.name });
}

export const fileUrl = (uri: string): string | undefined => shown.get(uri)?.url;
export const fileName = (uri: string): string | undefined => shown.get(uri)?.name;

/** What may be shown beside a result: the dropped file, or an https URL as it is. */
export function showable(uri: unknown): string | undefined {
  if (typeof uri !== "string") return undefined;
  return fileUrl(uri) ?? (uri.startsWith("https://") ? uri : undefined);
}
