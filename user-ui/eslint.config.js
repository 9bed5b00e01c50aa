import js from "@eslint/js";
import lit from "eslint-plugin-lit";
import litA11y from "eslint-plugin-lit-a11y";
import { defineConfig, globalIgnores } from "eslint/config";
import ts from "typescript-eslint";

// typescript-eslint needs the compiler's API, which TypeScript 7 no longer has. Until the two meet
// (https://github.com/typescript-eslint/typescript-eslint/issues/10940), package.json installs both,
// as TypeScript's release notes advise: 6 as `typescript` for the linter, 7 as `@typescript/native`
// for the `tsc` that checks the types.
export default defineConfig(globalIgnores(["dist*/"]), js.configs.recommended, {
  files: ["**/*.ts"],
  extends: [
    ts.configs.strictTypeChecked,
    ts.configs.stylisticTypeChecked,
    lit.configs["flat/all"],
    litA11y.configs.recommended,
  ],
  languageOptions: {
    parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
  },
  rules: {
    // `() => this.show()` says what happens; braces around it say no more.
    "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
    // A number reads the same in a text; objects and null do not.
    "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    // An empty text is replaced like a missing one.
    "@typescript-eslint/prefer-nullish-coalescing": [
      "error",
      { ignorePrimitives: { string: true } },
    ],
    // A row's handler needs its row, and Lit exchanges a listener without touching the DOM.
    "lit/no-template-arrow": "off",
    // Short lists that are drawn whole; the long one, of messages, uses `repeat`.
    "lit/no-template-map": "off",
  },
});
