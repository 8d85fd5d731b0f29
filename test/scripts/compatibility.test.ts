/** `docs/compatibility.md`: what it says is tested, is. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const NAME = /[A-Za-z-]+#\d+|bootc defect: [^,|)]+/g;

/** Names in the last column of the tables. */
const tabled = readFileSync(join(root, "docs/compatibility.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .flatMap((line) => line.split("|").at(-2)!.match(NAME) ?? [])
  .map((name) => name.trim());

/** Names in parentheses at the end of titles. */
const titled = ["test", "vm-tests"]
  .flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".test.ts"))
      .map((file) => readFileSync(join(root, directory, file), "utf8")),
  )
  .flatMap((text) => text.match(/\((?:[A-Za-z-]+#\d+|bootc defect: )[^()]*\)["`]/g) ?? [])
  .flatMap((title) => title.match(NAME) ?? []);

test("everything on the list is in a test's title", () => {
  expect(tabled.length).toBeGreaterThan(100);
  expect([...new Set(tabled)].filter((name) => !titled.includes(name))).toEqual([]);
});
