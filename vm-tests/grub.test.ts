/** GRUB itself, as it is installed: it counts the boots of a new deployment, and falls back. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { grubConfig } from "../src/formats/grub-config.ts";
import {
  grubEnvValue,
  newGrubEnv,
  parseGrubEnv,
  serializeGrubEnv,
} from "../src/formats/grubenv.ts";
import { startGrubCounter } from "../src/model/grub-counter.ts";
import { makeGrub } from "../userspace/install/grub.ts";
import { CACHE } from "./harness/cache.ts";
import { boot, newVariables, plain } from "./harness/qemu.ts";

const UUID = "1234-ABCD";
const ID = "a".repeat(128);
/** In place of kernels: entries that say their name, and end the machine. */
const MENU = `set cfsboot_first='${ID}'
${["new", "old"].map((name) => `menuentry '${name}' {\n  echo "entry=${name};"\n  reboot\n}\n`).join("")}`;

test("a new deployment that does not come up is tried three times, then the one before it is booted", async () => {
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "grub-"));
  try {
    const path = (name: string) => join(work, name);
    const [disk, variables] = [path("disk"), path("variables")];
    writeFileSync(disk, "");
    truncateSync(disk, 64 << 20);
    execFileSync("mkfs.vfat", ["-F", "32", "-i", UUID.replace("-", ""), disk]);
    const place = { uuid: UUID, separateBoot: true };
    const files = {
      "EFI/BOOT/BOOTX64.EFI": makeGrub(place, "amd64").program,
      "grub/grub.cfg": grubConfig({ ...place, timeout: 0, serial: 115200 }),
      "grub/grubenv": serializeGrubEnv(startGrubCounter(newGrubEnv(), ID, { left: 3, done: 0 })),
      "loader/entries/cfsboot.cfg": MENU,
    };
    const directories = ["EFI", "EFI/BOOT", "grub", "loader", "loader/entries"];
    execFileSync("mmd", ["-i", disk, ...directories.map((name) => `::${name}`)]);
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(path("file"), content);
      execFileSync("mcopy", ["-i", disk, path("file"), `::${name}`]);
    }
    newVariables(variables);

    const seen: (string | undefined)[][] = [];
    for (let i = 0; i < 5; i++) {
      const { console } = await boot({
        name: `grub counts ${i}`,
        disk,
        variables,
        persistent: true,
      });
      execFileSync("mcopy", ["-n", "-o", "-i", disk, "::grub/grubenv", path("grubenv")]);
      const env = parseGrubEnv(readFileSync(path("grubenv")), "grubenv");
      expect(plain(console)).not.toMatch(/error:|Unknown command/);
      const entry = /entry=(\w+);/.exec(plain(console))?.[1];
      seen.push([entry, grubEnvValue(env, "boot_counter")]);
    }
    expect(seen).toEqual([
      ["new", "2"],
      ["new", "1"],
      ["new", "0"],
      ["old", "-1"],
      ["old", "-1"],
    ]);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});
