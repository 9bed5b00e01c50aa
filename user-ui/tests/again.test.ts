import { expect, it } from "vitest";

import { again } from "../src/api/again";

it.each([
  [0, "done"],
  [1, "done"],
  [2, "done"],
  [3, "failure 3"],
  [9, "failure 3"],
])("after %i failures in a row it ends with %s", async (failures, outcome) => {
  let tries = 0;
  const task = () =>
    ++tries <= failures ? Promise.reject(new Error(`failure ${tries}`)) : Promise.resolve("done");
  const ended = await again(task, [0, 0]).catch((error: unknown) => (error as Error).message);
  expect(ended).toBe(outcome);
  expect(tries).toBe(Math.min(failures + 1, 3));
});
