/** Files that somebody names: what is in them is not destroyed, and what is not in them is not installed. */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { requirePrograms } from "../../userspace/install/programs.ts";
import { spawn } from "../cli/on-machine.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";
import { partitionsOf } from "./disk-image.ts";

const directory = mkdtempSync(join(tmpdir(), "cfsboot-files-"));
afterAll(() => rmSync(directory, { recursive: true }));
const layout = join(directory, "layout");
beforeAll(() => {
  mkdirSync(layout);
  const layer = { tar: osLayer({ version: "13" }), compression: "none" } as const;
  writeLayout(layout, [{ image: image([layer]), tag: "os" }]);
});

const install = (...args: string[]) =>
  spawn(
    ...["install", "to-disk", "--source-imgref", `oci:${layout}:os`, "--bootloader", "none"],
    ...["--size", "400M", "--esp-size", "64M", ...args],
  );

test("a file with something else in it needs --wipe, also where no tool knows what it is", () => {
  const path = join(directory, "disk.qcow2");
  writeFileSync(path, "QFI\xfb, and what somebody needs");
  truncateSync(path, 1 << 20);
  const before = readFileSync(path);
  expect(install(path)).toEqual({
    status: 1,
    stdout: "",
    stderr: `cfsboot: error: ${path} is not empty: it is a file with something else than a disk in it\nhint: --wipe destroys it\n`,
  });
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(install("--dry-run", "--wipe", path)).toMatchObject({ status: 0 });
});

test("a link to a file stays one, and the names may be any", { timeout: 120_000 }, () => {
  const elsewhere = 'what is "it"? @@ elsewhere';
  const [path, link] = [join(directory, elsewhere, "disk"), join(directory, "my link")];
  mkdirSync(join(directory, elsewhere));
  writeFileSync(path, "");
  symlinkSync(join(elsewhere, "disk"), link);
  const { status, stdout, stderr } = install(link);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(stdout).toMatch(` on ${link}\n`);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(partitionsOf(path).map(({ name }) => name)).toEqual(["EFI-SYSTEM", "root"]);
  expect(readdirSync(join(directory, elsewhere))).toEqual(["disk"]);
});

test.each([
  ["a private key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "found a private one"],
  ["no key", "# ssh-ed25519 AAAA of old\n\n", 'expected SSH keys, as "ssh-ed25519 AAAA…"'],
])("%s lets nobody log in", (_, text, message) => {
  const keys = join(directory, "keys");
  writeFileSync(keys, text);
  const disk = join(directory, "disk.raw");
  expect(install("--root-ssh-authorized-keys", keys, disk)).toEqual({
    status: 1,
    stdout: "",
    stderr: expect.stringContaining(`${keys}: expected`),
  });
  expect(install("--root-ssh-authorized-keys", keys, disk).stderr).toContain(message);
});

test("keys may have options", () => {
  const keys = join(directory, "keys");
  writeFileSync(keys, 'command="echo hi",no-pty sk-ssh-ed25519@openssh.com AAAAGnNr key\n');
  const disk = join(directory, "disk.raw");
  expect(install("--dry-run", "--root-ssh-authorized-keys", keys, disk)).toMatchObject({
    status: 0,
  });
});

test("GRUB does not use an extended boot loader partition, which is said", () => {
  const disk = join(directory, "disk.raw");
  const { stdout } = install("--dry-run", "--bootloader", "grub", "--xbootldr", "64M", disk);
  expect(stdout).toContain("note: GRUB does not use that extended boot loader partition");
});

test("a program that is missing is found missing before anything is done", () => {
  expect(() => requirePrograms(["sh", "wipefs"])).not.toThrow();
  expect(() => requirePrograms(["sh", "cfsboot-is-missing"])).toThrow(
    "the program cfsboot-is-missing is missing",
  );
});
