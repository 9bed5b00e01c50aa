/** The page's colours: as the system has them, or light or dark in this browser. */

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "ocmt-theme";

export function theme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return THEMES.find((one) => one === kept) ?? "system";
  } catch {
    return "system"; // The browser keeps nothing for this page.
  }
}

export function setTheme(chosen: Theme): void {
  try {
    if (chosen === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // It holds until the page is left.
  }
  show(chosen);
}

/** Colours are `light-dark()` pairs, so the scheme of the root decides. */
export function showTheme(): void {
  show(theme());
}

function show(chosen: Theme): void {
  document.documentElement.style.colorScheme = chosen === "system" ? "" : chosen;
}
