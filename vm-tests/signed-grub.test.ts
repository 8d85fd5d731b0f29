/** GRUB as Debian has signed it, with shim before it, of an image that is installed: it finds the menu on the root. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { downloadPackage } from "../scripts/debian-packages.mjs";
import { osLayer } from "../test/deployment/machine.ts";
import { image, writeLayout } from "../test/oci/fixtures/images.ts";
import { CACHE, PROJECT } from "./harness/cache.ts";
import { partitionNamed } from "./harness/disk-partitions.ts";
import { boot, newVariables, plain } from "./harness/qemu.ts";
import { cfsboot } from "./harness/systems.ts";

const GRUB = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";
const SHIM = "usr/lib/shim/shimx64.efi.signed";
const PACKAGES = { [GRUB]: "grub-efi-amd64-signed", [SHIM]: "shim-signed" };
/** What the configuration reads last: it says that it was read, and ends the machine. */
const CUSTOM = `insmod serial
serial --unit=0 --speed=115200
terminal_output serial
echo "entries=\${cfsboot_first};"
reboot
`;

test("an image's signed GRUB finds its configuration, and the menu", async () => {
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "signed-grub-"));
  try {
    const path = (name: string) => join(work, name);
    const programs = Object.entries(PACKAGES).map(([file, name]) => {
      const dir = join(PROJECT, ".cache", "packages");
      execFileSync("dpkg-deb", ["-x", downloadPackage({ suite: "trixie", name, dir }), path("x")]);
      return { path: file, data: readFileSync(join(path("x"), file)) };
    });
    const directories = ["usr/lib/grub/", "usr/lib/grub/x86_64-efi-signed/", "usr/lib/shim/"];
    const files = [...directories.map((name) => ({ path: name })), ...programs];
    mkdirSync(path("layout"));
    const tar = osLayer({ version: "13", files });
    writeLayout(path("layout"), [{ image: image([{ tar, compression: "none" }]), tag: "os" }]);
    const [disk, variables] = [path("disk"), path("variables")];
    const source = ["--source-imgref", `oci:${path("layout")}:os`];
    const sizes = ["--size", "1G", "--esp-size", "100M"];
    cfsboot("install", "to-disk", ...source, ...sizes, "--bootloader", "grub", disk);

    const root = `${disk}?offset=${partitionNamed(disk, "root").start}`;
    writeFileSync(path("custom.cfg"), CUSTOM);
    const request = `write ${path("custom.cfg")} /boot/grub/custom.cfg`;
    const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
    spawnSync("debugfs", ["-w", "-R", request, root], { env });

    newVariables(variables);
    const { console } = await boot({ name: "signed grub", disk, variables, persistent: true });
    // the screen has 80 columns
    expect(plain(console).replace(/[\r\n]/g, "")).toMatch(/entries=[0-9a-f]{128};/);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});
