/** What the engine gets in place of parts of the C library (initrd/engine), without the engine. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const temporary = mkdtempSync(join(tmpdir(), "engine-"));
afterAll(() => rmSync(temporary, { recursive: true }));
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const engine = path("../../initrd/engine");

function compile(name: string, args: readonly string[], input = ""): string {
  const program = join(temporary, name);
  const flags = ["-std=gnu11", "-O1", "-w", "-isystem", engine, "-o", program];
  execFileSync(process.env.CC || "cc", [...flags, ...args], { input });
  return program;
}

test("snprintf writes and returns what the C library's does, also where there is no room", () => {
  const program = compile("snprintf", ["-fno-builtin", path("snprintf-check.c")]);
  expect(execFileSync(program, { encoding: "utf8" })).toBe("84 cases\n");
});

test("a failed assertion says where, and ends the process", () => {
  const source = `#include <assert.h>
#line 12 "engine.c"
int main(int argc, char **argv) { assert(argc > 0); assert(argc == 1 && "the text"); }`;
  const args = ["-x", "c", "-", join(engine, "assert.c"), join(engine, "snprintf.c")];
  const program = compile("assert", args, source);
  expect(spawnSync(program).status).toBe(0);
  const { signal, stderr } = spawnSync(program, ["more"], { encoding: "utf8" });
  expect({ signal, stderr }).toEqual({
    signal: "SIGABRT",
    stderr: "error: assertion failed (engine.c:12)\n",
  });
});
