import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newBlsEntry } from "../../src/formats/bls-entry.ts";
import { grubScript } from "../../src/formats/grub-script.ts";

function entry(title: string, options: string) {
  return newBlsEntry({
    title,
    version: "13",
    kernel: { key: "linux", path: "/boot/k/vmlinuz" },
    initrds: ["/boot/k/initrd"],
    options,
  });
}

test("a menu", () => {
  expect(
    grubScript([{ id: "bootc_debian-13-1", bls: entry("Debian 13", "rw composefs=aa") }]),
  ).toBe(
    [
      "# Made by cfsboot of the entries beside it, which it is replaced with.",
      "menuentry 'Debian 13' --id 'bootc_debian-13-1' {",
      "  linux '/boot/k/vmlinuz' 'rw' 'composefs=aa'",
      "  initrd '/boot/k/initrd'",
      "}",
      "",
    ].join("\n"),
  );
});

test("quotes of the kernel's are GRUB's to make; its own are escaped", () => {
  const script = grubScript([{ id: "a", bls: entry("It's $HOME {", 'a="b c" d=\'e') }]);
  expect(script).toContain("menuentry 'It'\\''s $HOME {' --id 'a' {");
  expect(script).toContain("linux '/boot/k/vmlinuz' 'a=b c' 'd='\\''e'\n");
});

test("what is not a Linux kernel is not GRUB's to start", () => {
  const uki = newBlsEntry({ version: "1", kernel: { key: "uki", path: "/EFI/Linux/x.efi" } });
  expect(grubScript([{ id: "a", bls: uki }])).not.toContain("menuentry");
});

describe("GRUB's own parser", () => {
  const check = (script: string) =>
    spawnSync("grub-script-check", { input: script, encoding: "utf8" });

  test("accepts any title and options", (ctx) => {
    if (check("").error !== undefined)
      return ctx.skip("grub-script-check (grub-common) is not installed");
    const line = fc.string().map((text) => text.trim() || "x");
    fc.assert(
      fc.property(line, line, (title, options) => {
        const { status, stderr } = check(grubScript([{ id: "a", bls: entry(title, options) }]));
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      }),
      { numRuns: 50 },
    );
  });
});
