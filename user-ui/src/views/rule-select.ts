/** The field with which a rule is set. */

import { html } from "lit";

import type { Rule } from "../api/generated";
import { RULE_NAMES, RULES } from "../tools/rules";

interface RuleField {
  /** The label for screen readers. */
  readonly label: string;
  readonly value: Rule | null;
  /** The option without a rule. */
  readonly none: string;
  readonly disabled: boolean;
  /** Store the rule; resolves to whether that succeeded. */
  readonly set: (rule: Rule | null) => Promise<boolean>;
}

export function ruleSelect({ label, value, none, disabled, set }: RuleField) {
  const onChange = async (event: Event) => {
    const field = event.target as HTMLSelectElement;
    const chosen = RULES.find((rule) => rule === field.value) ?? null;
    if (!(await set(chosen))) field.value = value ?? "";
  };
  return html`<select class="small" aria-label=${label} ?disabled=${disabled} @change=${onChange}>
    <option value="" ?selected=${value === null}>${none}</option>
    ${RULES.map(
      (rule) =>
        html`<option value=${rule} ?selected=${value === rule}>${RULE_NAMES[rule]}</option>`,
    )}
  </select>`;
}
