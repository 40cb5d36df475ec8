/** What the published input schema says about a form. */

import type { Input, Schema } from "./api";

export type Kind = "text" | "long" | "url" | "number" | "boolean" | "choice" | "size" | "rows" | "json";

export interface Field { name: string; title: string; schema: Schema; kind: Kind; required: boolean }
export interface Group { title: string; fields: Field[] }

/** How the fields are ordered for people. Every name is optional: what is not here comes last. */
const GROUPS: [string, string[]][] = [
  ["", ["video_url", "prompt", "loras"]],
  ["Camera", ["camera_lora", "camera_lora_scale"]],
  ["Control", ["video_strength", "preprocessor", "ic_lora", "ic_lora_scale", "image_url"]],
  ["Size and length", ["video_size", "match_video_length", "num_frames", "match_input_fps", "fps", "generate_audio"]],
  ["Generation", ["num_inference_steps", "guidance_scale", "seed", "use_multiscale", "enable_prompt_expansion", "negative_prompt"]],
];
const LAST = "Output";
const LONG = 5000;

export function groupsOf(schema: Schema): Group[] {
  const left = new Map(Object.entries(schema.properties ?? {}));
  const take = (name: string): Field[] => {
    const found = left.get(name);
    left.delete(name);
    return found ? [fieldOf(name, found, schema.required?.includes(name) ?? false)] : [];
  };
  const groups = GROUPS.map(([title, names]) => ({ title, fields: names.flatMap(take) }));
  groups.push({ title: LAST, fields: [...left.keys()].flatMap(take) });
  return groups.filter((group) => group.fields.length);
}

export function fieldOf(name: string, asked: Schema, required: boolean): Field {
  const schema = { ...asked, ...asked.anyOf?.find((one) => one.type !== "null") };
  return { name, title: titleOf(name, asked), schema, kind: kindOf(schema), required };
}

function titleOf(name: string, schema: Schema): string {
  const words = (schema.title ?? name).replaceAll("_", " ").toLowerCase();
  const title = words.charAt(0).toUpperCase() + words.slice(1);
  return title.replace(/^Num /, "Number of ").replace(/\bfps\b/i, "FPS").replace(/\bloras?\b/gi, (word) => (word.toLowerCase() === "loras" ? "LoRAs" : "LoRA")).replace(/ url$/, "").replace(/^Ic\b/, "IC");
}

function kindOf(schema: Schema): Kind {
  if (schema.enum) return "choice";
  if (schema.oneOf?.some((one) => one.enum) && schema.oneOf.some((one) => one.properties)) return "size";
  switch (schema.type) {
    case "boolean": return "boolean";
    case "integer": case "number": return "number";
    case "array": return schema.items?.properties ? "rows" : "json";
    case "string": return schema.format === "uri" ? "url" : (schema.maxLength ?? 0) >= LONG ? "long" : "text";
    default: return "json";
  }
}

/** What a form starts with: every default; nothing for the fields that have none. */
export function defaultsOf(schema: Schema): Input {
  const pairs = Object.entries(schema.properties ?? {}).map(([name, one]) => [name, one.default ?? (one.type === "array" ? [] : one.type === "string" ? "" : null)]);
  return Object.fromEntries(pairs) as Input;
}

/** The request's body: what is required, and what differs from its default. */
export function bodyOf(schema: Schema, values: Input): Input {
  const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);
  const defaults = defaultsOf(schema);
  const pairs = Object.entries(values).filter(([name, value]) => schema.required?.includes(name) || !same(value, defaults[name]));
  return Object.fromEntries(pairs);
}

/** Whole numbers beyond 2^53 would be rounded by JavaScript: such a form cannot send them. */
export function boundsOf(schema: Schema): { min?: number; max?: number } {
  const whole = schema.type === "integer";
  const clamp = (bound?: number) => bound === undefined || !whole ? bound : Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, bound));
  return { min: clamp(schema.minimum), max: clamp(schema.maximum) };
}
