/** Light, dark, or as the system is. */

import { useState } from "preact/hooks";

const NAME = "rotoscope.theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const saved = (): Theme => THEMES.find((one) => one === localStorage.getItem(NAME)) ?? "system";

export function applyTheme(theme: Theme = saved()): void {
  document.documentElement.dataset.theme = theme;
}

export function ThemeSwitch() {
  const [theme, setTheme] = useState(saved());
  const choose = (next: Theme) => {
    localStorage.setItem(NAME, next);
    applyTheme(next);
    setTheme(next);
  };
  return (
    <select class="theme" aria-label="Theme" value={theme} onChange={(event) => choose(event.currentTarget.value as Theme)}>
      {THEMES.map((one) => <option key={one} value={one}>{one === "system" ? "System" : one === "light" ? "Light" : "Dark"}</option>)}
    </select>
  );
}
