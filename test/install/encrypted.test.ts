/** A disk in a file whose root is encrypted, made without root's help or the kernel's, as cryptsetup sees it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { spawn } from "../cli/on-machine.ts";
import { osLayer } from "../deployment/machine.ts";
import { initramfsFiles } from "../formats/cpio-archive.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

const directory = mkdtempSync(join(tmpdir(), "cfsboot-encrypted-"));
afterAll(() => rmSync(directory, { recursive: true }));

const layout = join(directory, "layout");
const disk = join(directory, "disk.raw");
const secret = join(directory, "secret");
const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const PASSPHRASE = "open, Sesame";

beforeAll(() => {
  mkdirSync(layout);
  const module = "usr/lib/modules/6.12/kernel/drivers/md/dm-crypt.ko";
  const cryptsetup = { name: "usr/lib/systemd/systemd-cryptsetup", mode: 0o100755, data: "c" };
  const boots = [...initramfsFiles("6.12"), { name: module, data: "m" }];
  const builtin = {
    path: "usr/lib/modules/6.12/modules.builtin",
    data: "kernel/fs/ext4/ext4.ko\n",
  };
  const os = (initramfs: typeof boots) =>
    image([{ tar: osLayer({ version: "13", initramfs, files: [builtin] }), compression: "none" }]);
  writeLayout(layout, [
    { image: os([...boots, cryptsetup]), tag: "os" },
    { image: os(boots), tag: "unable" },
  ]);
  writeFileSync(secret, `${PASSPHRASE}\n`);
});

const install = (tag: string, ...args: string[]) =>
  spawn(
    ...["install", "to-disk", "--source-imgref", `oci:${layout}:${tag}`, "--esp-size", "64M"],
    ...["--allow-missing-verity", "--bootloader", "none", "--size", "330M", ...args, disk],
  );

function run(name: string, args: readonly string[], input = ""): string {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { status, stdout, stderr, error } = spawnSync(name, args, { encoding: "utf8", env, input });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${name}: ${status}: ${stdout}${stderr}`);
  return stdout;
}

test("a file whose root a passphrase opens", (ctx) => {
  if (spawnSync("/usr/sbin/cryptsetup", ["--version"]).error) ctx.skip("there is no cryptsetup");
  const { status, stdout, stderr } = install(
    ...["os", "--encrypt", "passphrase", "--passphrase-file", secret],
  );
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(stdout).toMatch(/^ {2}root +264 MiB {2}ext4, encrypted$/m);
  expect(stdout).toMatch(/^encrypt the root \(LUKS2\): a passphrase opens it at each boot$/m);

  const [, { start, size }] = JSON.parse(run("sfdisk", ["--json", disk])).partitiontable.partitions;
  const root = join(directory, "root");
  const range = ["bs=512", `skip=${start}`, `count=${size}`, "conv=sparse", "status=none"];
  run("dd", [`if=${disk}`, `of=${root}`, ...range]);
  const uuid = run("cryptsetup", ["luksUUID", root]).trim();
  expect(stdout).toMatch(
    new RegExp(`: rd\\.luks\\.name=${uuid}=root root=/dev/mapper/root rw$`, "m"),
  );
  // a machine with little memory opens it, too
  expect(Number(/Memory: +(\d+)/.exec(run("cryptsetup", ["luksDump", root]))?.[1])).toBeLessThan(
    262_145,
  );

  const how = ["--batch-mode", "--disable-locks", "--force-offline-reencrypt", "--key-file", "-"];
  const header = ["--header", join(directory, "header")];
  run("cryptsetup", ["reencrypt", "--decrypt", ...header, ...how, root], PASSPHRASE);
  run("e2fsck", ["-fn", root]);
  expect(run("debugfs", ["-R", "ls -p /state/deploy", root])).toMatch(/\/[0-9a-f]{128}\//);
  rmSync(root);
  rmSync(disk);
}, 240_000);

test.each<[string, string[], RegExp]>([
  [
    "GRUB",
    ["--encrypt", "passphrase", "--bootloader", "grub"],
    /--encrypt needs systemd-boot: GRUB's kernels/,
  ],
  ["a TPM for a file", ["--encrypt", "tpm2"], /is for disks of this machine/],
  ["the same in bootc's words", ["--block-setup", "tpm2-luks"], /is for disks of this machine/],
  [
    "a TPM for many machines",
    ["--encrypt", "tpm2", "--generic-image"],
    /--generic-image is for many machines, and a TPM that opens the root in one/,
  ],
  ["a passphrase for nothing", ["--passphrase-file", secret], /--passphrase-file needs --encrypt/],
])("%s is refused before anything is done", (_, args, message) => {
  const { status, stderr } = install("os", ...args);
  expect({ status, stderr }).toMatchObject({ status: 2, stderr: expect.stringMatching(message) });
  expect(existsSync(disk)).toBe(false);
});

test.each([
  ["nothing", ""],
  ["what cannot be typed", "one\ntwo\n"],
])("a passphrase file with %s is refused", (_, text) => {
  const file = join(directory, "file");
  writeFileSync(file, text);
  const { status, stderr } = install("os", "--encrypt", "passphrase", "--passphrase-file", file);
  expect({ status, stderr }).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/file: .*expected (a passphrase of 1 to 512|one line)/),
  });
});

test("without a terminal a passphrase is not asked for", () => {
  const { status, stderr } = install("os", "--encrypt", "passphrase");
  expect({ status, stderr }).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/no terminal to ask.*\nhint: --passphrase-file names/),
  });
});

/** Types two lines when they are asked for; its status is the program's. */
const TYPIST = `
import os, pty, sys, time
typed = sys.argv[1:3]
seen = b""
def read(fd):
    global seen
    data = os.read(fd, 4096)
    seen += data
    if typed and seen.rstrip().endswith((b"disk.raw:", b"more:")):
        seen = b""
        time.sleep(0.1)
        os.write(fd, typed.pop(0).encode() + b"\\r")
    return data
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[3:], read)))
`;

test("on a terminal it is asked for twice, and not shown", (ctx) => {
  if (spawnSync("python3", ["--version"]).error) ctx.skip("there is no python3");
  const type = (...lines: [string, string]) => {
    const program = ["install", "to-disk", "--source-imgref", `oci:${layout}:unable`];
    const args = [...program, "--size", "1G", "--esp-size", "64M", "--encrypt", "passphrase", disk];
    const typist = ["-c", TYPIST, ...lines, process.execPath, CFSBOOT, ...args];
    return spawnSync("python3", typist, { encoding: "utf8", input: "" });
  };
  const different = type("open, Sesame", "open, Sesam");
  expect(different.stdout).toMatch(/New passphrase for .*disk.raw: \r\nThe same once more: \r\n/);
  expect(different.stdout).toContain("error: install oci:");
  expect(different.stdout).toContain("the passphrases differ");
  expect(different.status).toBe(1);
  // the same ones are taken: what comes next is about the image
  const same = type("open, Sesamf\x7fe", "open, Sesame");
  expect(same.stdout).toContain("has no systemd-cryptsetup");
  expect(same.stdout).not.toContain("Sesam");
});

test("an image that cannot open an encrypted root is not installed", () => {
  const { status, stderr } = install(
    ...["unable", "--encrypt", "passphrase", "--passphrase-file", secret],
  );
  expect({ status, stderr }).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/would not come up: .*its initramfs has no systemd-cryptsetup/),
  });
});
