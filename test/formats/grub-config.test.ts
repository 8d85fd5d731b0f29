import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { GRUB_COUNTING, grubConfig } from "../../src/formats/grub-config.ts";

const UUID = "0a1b2c3d-1111-2222-3333-444455556666";

describe("grub.cfg", () => {
  test.for([
    {
      name: "/boot on the root",
      separateBoot: false,
      menu: "/boot/loader/entries/cfsboot.cfg",
    },
    {
      name: "a /boot of its own",
      separateBoot: true,
      menu: "/loader/entries/cfsboot.cfg",
    },
  ])("$name: GRUB takes it, and it reads the menu", ({ separateBoot, menu }, ctx) => {
    const config = grubConfig({ uuid: UUID, separateBoot, timeout: 5, serial: 115200 });
    expect(config).toContain(`search --no-floppy --fs-uuid --set=root ${UUID}\n`);
    expect(config).toContain(`\nsource "(\${root})${menu}"\n`);
    for (const script of [config, GRUB_COUNTING]) {
      const { error, status, stderr } = spawnSync("grub-script-check", {
        input: script,
        encoding: "utf8",
      });
      if (error !== undefined) ctx.skip("there is no grub-script-check");
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    }
  });

  test("what GRUB could not search for is refused", () => {
    const options = { separateBoot: false, timeout: 5 };
    expect(() => grubConfig({ ...options, uuid: "x; reboot" })).toThrow(
      '"x; reboot": expected a UUID',
    );
    expect(() => grubConfig({ ...options, uuid: UUID, timeout: 0.5 })).toThrow("expected seconds");
  });
});

/** GRUB's script is read by bash, which has another `set`. What is saved and chosen is printed. */
const BASH = `
set() { declare -g "$1"; }
save_env() { for name; do echo "$name=\${!name}"; done; }
default=0
`;

function boot(variables: Readonly<Record<string, string>>): string[] {
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-grub-"));
  try {
    const file = join(directory, "script");
    writeFileSync(file, `${BASH}${GRUB_COUNTING}\necho "default=$default"\n`);
    const { status, stdout, stderr } = spawnSync("bash", [file], {
      encoding: "utf8",
      env: { PATH: process.env.PATH, ...variables },
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return stdout.trim().split("\n");
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe("counting", () => {
  const counted = { boot_success: "0", cfsboot_counted: "aa", cfsboot_first: "aa" };

  test("three attempts, then the entry after it, and so it stays", () => {
    const boots: string[][] = [];
    for (let counter = "3"; boots.length < 6; ) {
      const seen = boot({ ...counted, boot_counter: counter });
      boots.push(seen);
      counter = seen[0]!.split("=")[1]!;
    }
    expect(boots).toEqual([
      ["boot_counter=2", "default=0"],
      ["boot_counter=1", "default=0"],
      ["boot_counter=0", "default=0"],
      ["boot_counter=-1", "default=1"],
      ["boot_counter=-1", "default=1"],
      ["boot_counter=-1", "default=1"],
    ]);
  });

  test.for([
    { name: "nothing is counted", variables: {} },
    { name: "it came up", variables: { ...counted, boot_success: "1", boot_counter: "2" } },
    { name: "it failed, and the menu says so", variables: { ...counted, boot_success: "1" } },
    {
      name: "another one is first",
      variables: { ...counted, boot_counter: "-1", cfsboot_first: "bb" },
    },
  ])("$name: the first entry is booted, and nothing is written", ({ variables }) => {
    expect(boot(variables)).toEqual(["default=0"]);
  });

  test("a GRUB that does not read the script of the menu counts, too", () => {
    expect(boot({ boot_success: "0", cfsboot_counted: "aa", boot_counter: "0" })).toEqual([
      "boot_counter=-1",
      "default=1",
    ]);
  });
});
