/** native/verity.c by every compiler and for every processor that there is here, also by emulation. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const sources = ["verity-check.c", "../../native/verity.c"].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);
const temporary = mkdtempSync(join(tmpdir(), "verity-"));
afterAll(() => rmSync(temporary, { recursive: true }));

const BLOCKS = 37;
const data = new Uint8Array(BLOCKS * 4096).map((_, i) => (i >> 12) % 5 && (i * i + (i >> 8)) & 255);

/** What the program prints for a kernel. */
function line(algorithm: 1 | 2, kernel: string): string {
  const digests = Array.from({ length: BLOCKS }, (_, i) =>
    createHash(algorithm === 1 ? "sha256" : "sha512")
      .update(data.subarray(i * 4096, (i + 1) * 4096))
      .digest("hex"),
  );
  return `${algorithm} ${kernel} ${digests.join("")}`;
}

const ARM = "aarch64-linux-gnu-gcc";
interface Case {
  readonly compiler: string;
  /** Another machine, where the program is not for this one. */
  readonly emulator?: readonly string[];
  /** The kernels of both algorithms that must be there, where that is known. */
  readonly kernels?: readonly [sha256: string, sha512: string];
}
const CASES: Record<string, Case> = {
  "the build's compiler": { compiler: process.env.CC || "cc" },
  clang: { compiler: "clang" },
  musl: { compiler: process.env.MUSL_CC || "musl-gcc" },
  "an old x86_64": {
    compiler: process.arch === "x64" ? "gcc" : "x86_64-linux-gnu-gcc",
    emulator: ["qemu-x86_64-static", "-cpu", "core2duo"],
    kernels: ["plain vector", "plain"],
  },
  "an old aarch64": {
    compiler: ARM,
    emulator: ["qemu-aarch64-static", "-cpu", "cortex-a53"],
    kernels: ["plain vector sha2", "plain"],
  },
  "a new aarch64": {
    compiler: ARM,
    emulator: ["qemu-aarch64-static", "-cpu", "max"],
    kernels: ["plain vector sha2", "plain sha3"],
  },
};

test.for(Object.entries(CASES))("%s", ([name, { compiler, emulator, kernels }], { skip }) => {
  for (const tool of [compiler, ...(emulator ?? []).slice(0, 1)]) {
    if (spawnSync(tool, ["--version"]).error !== undefined) return skip(`there is no ${tool}`);
  }
  const program = join(temporary, name.replaceAll(/\W/g, "-"));
  const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static"];
  execFileSync(compiler, [...flags, ...sources, "-o", program], { stdio: "pipe" });
  const [command = program, ...args] = emulator === undefined ? [] : [...emulator, program];
  const printed = execFileSync(command, args, { input: data, encoding: "utf8" });
  const lines = printed.trimEnd().split("\n");
  const found = lines.map((text) => text.split(" ") as ["1" | "2", string, string]);
  for (const [i, [algorithm, kernel]] of found.entries()) {
    expect(lines[i]).toBe(line(algorithm === "1" ? 1 : 2, kernel));
  }
  const names = (algorithm: string) =>
    found.flatMap((words) => (words[0] === algorithm ? [words[1]] : [])).join(" ");
  expect(names("1")).toMatch(/^chosen plain vector/);
  expect(names("2")).toMatch(/^chosen plain/);
  if (kernels !== undefined) {
    expect([names("1"), names("2")]).toEqual(kernels.map((list) => `chosen ${list}`));
  }
});
