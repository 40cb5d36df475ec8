/**
 * What was asked for, by the request's id: the server's list does not tell it. Kept where the key is
 * kept, so that nothing outlives it; without a key, in the browser.
 */

import type { Input } from "./api";
import { store } from "./key";

const NAME = "rotoscope.asked";
const MOST = 100;
const LONGEST = 4000;

type Asked = [id: string, input: Input][];

function read(): Asked {
  try {
    return JSON.parse(store().getItem(NAME) ?? "[]") as Asked;
  } catch {
    return [];
  }
}

export const askedFor = (id: string): Input | undefined => read().find(([one]) => one === id)?.[1];

/** Newest first; an input with a whole file in it is too long to keep. */
export function rememberAsked(id: string, input: Input): void {
  if (JSON.stringify(input).length > LONGEST || askedFor(id)) return;
  store().setItem(NAME, JSON.stringify([[id, input], ...read()].slice(0, MOST)));
}

export function prompts(): Map<string, string> {
  return new Map(read().map(([id, input]) => [id, String(input.prompt ?? "")]));
}

export function forgetAsked(): void {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
