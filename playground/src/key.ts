/**
 * Where the key is kept: for the tab alone, unless its owner asks for it to be remembered. It is
 * sent in the Authorization header and stands in no URL, cookie or copied example.
 */

const NAME = "rotoscope.key";

export function readKey(): string {
  return sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? "";
}

/** Where what belongs to the key is kept. */
export const store = (): Storage => (sessionStorage.getItem(NAME) ? sessionStorage : localStorage);

export function keepKey(key: string, remember: boolean): void {
  forgetKey();
  (remember ? localStorage : sessionStorage).setItem(NAME, key);
}

export function forgetKey(): void {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
