import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  grubEnvValue,
  newGrubEnv,
  parseGrubEnv,
  serializeGrubEnv,
  setGrubEnv,
} from "../../src/formats/grubenv.ts";

const HEADER = "# GRUB Environment Block\n";
const bytes = (text: string) => Uint8Array.from(Buffer.from(text));
const text = (data: Uint8Array) => Buffer.from(data).toString();
const block = (content: string, size = 1024) => `${HEADER}${content}`.padEnd(size, "#");
const parse = (content: string) => parseGrubEnv(bytes(content), "file");

test("a new block", () => {
  expect(text(serializeGrubEnv(newGrubEnv()))).toBe(block(""));
});

test("variables are read", () => {
  const env = parse(block("# WARNING: do not edit\na=1\nempty=\nb=x\\\\y\\\nz=\n=c\na=2\n"));
  expect(grubEnvValue(env, "a")).toBe("2");
  expect(grubEnvValue(env, "empty")).toBe("");
  expect(grubEnvValue(env, "b")).toBe("x\\y\nz=");
  expect(grubEnvValue(env, "z")).toBeUndefined();
  expect(grubEnvValue(env, "")).toBeUndefined();
});

describe("changing", () => {
  const env = parse(block("# c\nboot_success=0\nkernelopts=a b\n", 200));

  test("a variable keeps its place, the file its size", () => {
    const success = setGrubEnv(env, "boot_success", "100");
    expect(text(serializeGrubEnv(success))).toBe(
      block("# c\nboot_success=100\nkernelopts=a b\n", 200),
    );
    expect(text(serializeGrubEnv(setGrubEnv(env, "boot_counter", "3")))).toBe(
      block("# c\nboot_success=0\nkernelopts=a b\nboot_counter=3\n", 200),
    );
    expect(text(serializeGrubEnv(setGrubEnv(env, "boot_success", undefined)))).toBe(
      block("# c\nkernelopts=a b\n", 200),
    );
  });

  test("up to the last byte, and not beyond", () => {
    const used = HEADER.length + "# c\nboot_success=0\nkernelopts=a b\nx=\n".length;
    const full = setGrubEnv(env, "x", "y".repeat(200 - used));
    expect(serializeGrubEnv(full)).toHaveLength(200);
    expect(parseGrubEnv(serializeGrubEnv(full), "file")).toEqual(full);
    expect(() => setGrubEnv(env, "x", "y".repeat(201 - used))).toThrow(
      "GRUB variable x: no room in the environment block: needs 201 bytes, has 200",
    );
    expect(() => setGrubEnv(full, "x", "\\")).not.toThrow();
    expect(() => setGrubEnv(full, "boot_success", "\\")).toThrow("needs 201 bytes");
  });

  test.each(["", "a b", "a=b", "1a", "a-b"])("%j is no name", (name) => {
    expect(() => setGrubEnv(env, name, "1")).toThrow(`GRUB variable "${name}": expected letters`);
  });
});

test.each([
  ["", "file: offset 0: expected"],
  ["# GRUB environment\n####", "file: offset 0: expected"],
  [`${HEADER}a=1###`, "file: offset 28: expected a newline before the padding"],
  [`${HEADER}a=1\\\n###`, "file: offset 25: expected a line with an end"],
])("%j is refused", (content, why) => {
  expect(() => parse(content)).toThrow(why);
});

test("what is set is read again, of any value", () => {
  const value = fc.string({ unit: fc.constantFrom("a", "\\", "\n", "#", "=", "ü"), maxLength: 30 });
  const name = fc.constantFrom("a", "b", "boot_success");
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.option(value))), (changes) => {
      const wanted = new Map<string, string | undefined>();
      let env = newGrubEnv();
      for (const [variable, setting] of changes.slice(0, 8)) {
        env = setGrubEnv(env, variable, setting ?? undefined);
        wanted.set(variable, setting ?? undefined);
      }
      const data = serializeGrubEnv(env);
      expect(data).toHaveLength(1024);
      expect(parseGrubEnv(data, "file")).toEqual(env);
      for (const [variable, setting] of wanted) expect(grubEnvValue(env, variable)).toBe(setting);
    }),
  );
});

test("is as grub-editenv has it", (ctx) => {
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-grubenv-"));
  try {
    const file = join(directory, "grubenv");
    const editenv = ["grub-editenv", "grub2-editenv"].find(
      (name) => spawnSync(name, [file, "create"]).status === 0,
    );
    if (editenv === undefined) ctx.skip("grub-editenv is not installed");
    const own = setGrubEnv(
      setGrubEnv(parseGrubEnv(readFileSync(file), "file"), "boot_success", "1"),
      "x",
      "a\\b c",
    );
    spawnSync(editenv!, [file, "set", "boot_success=1", "x=a\\b c"]);
    expect(text(readFileSync(file))).toBe(text(serializeGrubEnv(own)));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
