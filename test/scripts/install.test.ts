import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const script = fileURLToPath(new URL("../../scripts/install.sh", import.meta.url));
const MODULE = "usr/lib/dracut/modules.d/51cfsboot/module-setup.sh";
const UNITS = "usr/lib/systemd/system";
const UNIT = `${UNITS}/composefs-setup-root.service`;
const ENABLED = ["cfsboot-boot-complete.service", "cfsboot-grow.service", "cfsboot-seal.service"];
const PROGRAM = "usr/lib/cfsboot/composefs-setup-root";

let destdir: string;
beforeEach(() => {
  destdir = mkdtempSync(join(tmpdir(), "install-"));
});
afterEach(() => rmSync(destdir, { recursive: true }));

function files(): string[] {
  const found = execFileSync("find", [destdir, "!", "-type", "d", "-printf", "%P %m\n"]);
  return String(found).trim().split("\n").sort();
}

test("installs everything below the directory", () => {
  execFileSync(script, [destdir]);
  const manual = files().filter((file) => file.startsWith("usr/share/man/"));
  expect(manual).toEqual(
    expect.arrayContaining([
      "usr/share/man/man1/cfsboot.1 644",
      "usr/share/man/man5/setup-root-conf.toml.5 644",
      "usr/share/man/man8/composefs-setup-root.8 644",
    ]),
  );
  expect(files().filter((file) => !manual.includes(file))).toEqual([
    "usr/bin/cfsboot 777",
    "usr/lib/cfsboot/cfsboot.mjs 755",
    `${PROGRAM} 755`,
    "usr/lib/cfsboot/linux.node 644",
    `${MODULE} 755`,
    `${UNITS}/cfsboot-boot-complete.service 644`,
    `${UNITS}/cfsboot-finalize-staged-hold.service 644`,
    `${UNITS}/cfsboot-finalize-staged.service 644`,
    `${UNITS}/cfsboot-grow.service 644`,
    `${UNITS}/cfsboot-seal.service 644`,
    `${UNIT} 644`,
    ...ENABLED.map((unit) => `${UNITS}/multi-user.target.wants/${unit} 777`),
  ]);
  for (const unit of ENABLED) {
    expect(readlinkSync(join(destdir, UNITS, "multi-user.target.wants", unit))).toBe(`../${unit}`);
  }
  expect(readlinkSync(join(destdir, "usr/bin/cfsboot"))).toBe("../lib/cfsboot/cfsboot.mjs");
  const version = execFileSync(join(destdir, "usr/bin/cfsboot"), ["--version"]);
  expect(String(version)).toMatch(/^cfsboot \d/);
});

test("--initramfs-only leaves out what needs Node, and again changes nothing", () => {
  for (let i = 0; i < 2; i++) {
    execFileSync(script, ["--initramfs-only", destdir]);
    expect(files()).toEqual([`${PROGRAM} 755`, `${MODULE} 755`, `${UNIT} 644`]);
  }
});

const TOOLS = ["usr/bin/composefs-info", "usr/bin/mkcomposefs", "usr/sbin/mount.composefs"];

test("--tools adds links that are the tools, and again changes nothing", () => {
  for (let i = 0; i < 2; i++) {
    execFileSync(script, ["--tools", destdir]);
    expect(files()).toEqual(expect.arrayContaining(TOOLS.map((path) => `${path} 777`)));
  }
  for (const path of TOOLS) {
    const help = execFileSync(join(destdir, path), ["--help"], { encoding: "utf8" });
    expect(help.toLowerCase()).toContain(`usage: ${basename(path)} `);
  }
});

test("--tools leaves the distribution's tools alone and installs nothing", () => {
  mkdirSync(join(destdir, "usr/bin"), { recursive: true });
  writeFileSync(join(destdir, "usr/bin/composefs-info"), "theirs");
  const result = spawnSync(script, ["--tools", destdir], { encoding: "utf8" });
  expect(result.status).toBe(1);
  expect(result.stderr).toMatch(/^install.sh: error: .*composefs-info is there and not ours\n$/);
  expect(files()).toEqual(["usr/bin/composefs-info 644"]);
});

test("unit and dracut module name the program where it is", () => {
  execFileSync(script, ["--initramfs-only", destdir]);
  expect(readFileSync(join(destdir, UNIT), "utf8")).toContain(`\nExecStart=/${PROGRAM}\n`);
  const probe = `. "$1"; check; echo $?; dracutsysrootdir=$2 check; echo $?; echo "$program $unit"`;
  const args = ["-c", probe, "bash", join(destdir, MODULE), destdir];
  const seen = spawnSync("bash", args, { encoding: "utf8", env: { PATH: process.env.PATH } });
  const here = statSync(`/${PROGRAM}`, { throwIfNoEntry: false }) === undefined ? 1 : 255;
  expect(seen.stdout).toBe(`${here}\n255\n/${PROGRAM} composefs-setup-root.service\n`);
});

test("systemd finds nothing wrong with the units, and no cycle", (ctx) => {
  if (spawnSync("systemd-analyze", ["--version"]).error !== undefined) {
    ctx.skip("there is no systemd-analyze");
  }
  execFileSync(script, [destdir]);
  const units = ["boot-complete", "finalize-staged", "finalize-staged-hold"].map((name) =>
    join(destdir, `${UNITS}/cfsboot-${name}.service`),
  );
  // the program is not where the units look for it, on this machine
  for (const unit of units) {
    const text = readFileSync(unit, "utf8").replaceAll("/usr/bin/cfsboot", "/bin/true");
    writeFileSync(unit, text);
  }
  const args = ["--man=no", "verify", ...units];
  const seen = spawnSync("systemd-analyze", args, { encoding: "utf8" });
  expect(seen.stderr.split("\n").filter((line) => line.includes("cfsboot-"))).toEqual([]);
  expect(seen.status).toBe(0);
});

test("wrong usage", () => {
  const result = spawnSync(script, ["--bogus"], { encoding: "utf8" });
  expect(result.status).toBe(2);
  expect(result.stderr).toMatch(/^install.sh: error: unknown option --bogus/);
});
