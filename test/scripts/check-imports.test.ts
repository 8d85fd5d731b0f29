import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { importFaults } from "../../scripts/check-imports.mjs";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "imports-"));
});
afterEach(() => rmSync(root, { recursive: true }));

function faults(files: Record<string, string>): string[] {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return importFaults(root);
}

test("downward imports pass", () => {
  expect(
    faults({
      "src/formats/a.ts": 'import { parse } from "smol-toml";',
      "src/linux/b.ts": 'import type { A } from "../formats/a.ts";',
      "userspace/cli/main.ts":
        'import fs from "node:fs";\nimport { x } from "../repository/x.ts";\nawait import("./other.ts");',
    }),
  ).toEqual([]);
});

test("an upward import is named with its place, over several lines too", () => {
  expect(
    faults({ "src/formats/a.ts": '\nimport {\n  x,\n  y,\n} from "../model/tree.ts";\n' }),
  ).toEqual(["src/formats/a.ts:2: src/formats may not import from src/model (src/model/tree.ts)"]);
});

test("the core uses no Node module, and product code no test code", () => {
  expect(
    faults({
      "src/model/a.ts": 'export * from "node:fs";',
      "userspace/oci/b.ts": 'const m = await import("../../test/x.ts");',
    }),
  ).toEqual([
    "src/model/a.ts:1: src/model may not use the package node:fs",
    "userspace/oci/b.ts:1: product code may not import test/x.ts",
  ]);
});

test("a cycle is named", () => {
  expect(
    faults({ "src/model/a.ts": 'import "./b.ts";', "src/model/b.ts": 'import "./a.ts";' }),
  ).toEqual(["import cycle: src/model/a.ts -> src/model/b.ts -> src/model/a.ts"]);
});
