import { expect, test } from "vitest";
import {
  formatUpdateRecord,
  parseUpdateRecord,
  type UpdateRecord,
} from "../../src/formats/update-record.ts";
import { planNew } from "../../src/model/menu-plan.ts";
import { updateTrouble } from "../../src/model/update-outcome.ts";
import { filesOf, idOf, machineOf, menuOf } from "./machine.ts";

const OS = { osId: "debian", version: "13" };
const [A, B] = [1, 2].map(idOf) as [string, string];
const RECORD: UpdateRecord = {
  id: B,
  stagedIn: "boot 1",
  locked: false,
  outcome: "staged",
  error: undefined,
};

/** B is the update, with so many tries left; without, it is not in the menu. */
function machine(running: string, left?: number) {
  const first = menuOf(filesOf(planNew(machineOf([], undefined), A, 2), OS), "systemd-boot");
  if (left === undefined) return machineOf(first, running);
  const plan = planNew(machineOf(first, A), B, 2);
  const files = filesOf(plan, OS, { left, done: 3 - left });
  return machineOf(menuOf(files, "systemd-boot"), running);
}

test.each<[string, Partial<UpdateRecord>, ReturnType<typeof machine>, string | undefined]>([
  ["staged in this boot", { stagedIn: "boot 2" }, machine(A), undefined],
  ["only downloaded", { locked: true }, machine(A), undefined],
  [
    ...(["power was lost", {}, machine(A)] as const),
    "was staged, but the machine went down before it was finalized",
  ],
  ["power was lost when the menu had changed, before that was noted", {}, machine(B, 2), undefined],
  [
    ...(["power was lost then, and it did not come up", {}, machine(A, 0)] as const),
    "did not come up, tried 3 times",
  ],
  [
    ...(["it failed", { outcome: "failed", error: "no space" }, machine(A)] as const),
    "could not be finalized: no space",
  ],
  [
    ...(["it failed after the menu had changed", { outcome: "failed" }, machine(B, 2)] as const),
    undefined,
  ],
  ["it waits for its boot", { outcome: "finalized" }, machine(A, 3), undefined],
  ["it did not come up", { outcome: "finalized" }, machine(A, 0), "did not come up, tried 3 times"],
])("%s", (_, more, now, message) => {
  const trouble = updateTrouble({ ...RECORD, ...more }, now, "boot 2");
  if (message === undefined) expect(trouble).toBeUndefined();
  else expect(trouble).toMatchObject({ id: B, message: expect.stringContaining(message) });
});

test("no update, no trouble", () => {
  expect(updateTrouble(undefined, machine(A), "boot 2")).toBeUndefined();
});

test("the record is read as it was written; what is none is an error that names file and field", () => {
  for (const record of [RECORD, { ...RECORD, outcome: "failed", error: "é\n" } as const]) {
    expect(parseUpdateRecord(Buffer.from(formatUpdateRecord(record)), "f")).toEqual(record);
  }
  const parse = (text: string) => () => parseUpdateRecord(Buffer.from(text), "last-update.json");
  expect(parse("{")).toThrow("last-update.json: expected JSON");
  expect(parse('{"id":"1"}')).toThrow("last-update.json: id: expected 64 or 128 hex digits");
  expect(parse(`{"id":"${A}","staged_in":"b","outcome":"x"}`)).toThrow(
    "last-update.json: outcome: expected one of staged, finalized, failed",
  );
});
