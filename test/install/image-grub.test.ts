/** GRUB as images bring it, on disks in files. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { grubConfig } from "../../src/formats/grub-config.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { besideOthers, earlyConfig } from "../../userspace/install/grub.ts";
import { findImageGrub, isTaken, writeImageGrub } from "../../userspace/install/image-grub.ts";
import { linux } from "../../userspace/linux.ts";
import { imageTree } from "../../userspace/oci/commit.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, type TarFile, writeLayout } from "../oci/fixtures/images.ts";
import { makeRepository, pullInto } from "../oci/fixtures/pulling.ts";

const directory = mkdtempSync(join(tmpdir(), "cfsboot-image-grub-"));
afterAll(() => rmSync(directory, { recursive: true }));
const [layout, repositoryPath, esp] = ["layout", "repository", "esp"].map((name) =>
  join(directory, name),
) as [string, string, string];

beforeEach(() => {
  for (const path of [layout, repositoryPath, esp]) {
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path);
  }
});

const PLACE = { uuid: "0123-abcd", separateBoot: false };
const program = (name: string) => `${name} `.repeat(40);

/** The files with the directories that they are in. */
function withParents(files: readonly TarFile[]): TarFile[] {
  const parents = new Set<string>();
  for (const { path } of files) {
    for (let at = path.indexOf("/", "usr/lib/".length); at >= 0; at = path.indexOf("/", at + 1)) {
      parents.add(path.slice(0, at + 1));
    }
  }
  return [...[...parents].map((path) => ({ path })), ...files];
}

/** Installs it on the partition; what that returns, or `undefined` if the image has no GRUB or its place is taken. */
async function install(...files: readonly TarFile[]): Promise<boolean | undefined> {
  const tar = osLayer({ version: "13", files: withParents(files) });
  writeLayout(layout, [{ image: image([{ tar, compression: "none" }]), tag: "os" }]);
  rmSync(repositoryPath, { recursive: true });
  makeRepository(repositoryPath);
  const { manifestDigest } = await pullInto(repositoryPath, `oci:${layout}:os`);
  using repository = openRepository(repositoryPath);
  const tree = imageTree(repository, openImage(repository, `@${manifestDigest}`));
  const grub = findImageGrub(repository, tree, "amd64");
  if (grub === undefined) return undefined;
  return withDirectory(linux, AT_FDCWD, esp, (fd) =>
    isTaken(linux, fd, grub) ? undefined : writeImageGrub(linux, fd, repository, grub, PLACE),
  );
}

const on = (path: string) => readFileSync(join(esp, "EFI", path), "utf8");
const CONFIG =
  "search --no-floppy --fs-uuid --set=root 0123-abcd\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n";

describe("Debian's", () => {
  const grub = {
    path: "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
    data: `${program("grub")}\0/EFI/debian\0${program("grub")}`,
  };
  const shim = { path: "usr/lib/shim/shimx64.efi.signed", data: program("shim") };

  test("is started by shim, and configured where it looks", async () => {
    expect(await install(grub, shim)).toBe(true);
    expect(on("BOOT/BOOTX64.EFI")).toBe(shim.data);
    expect(on("BOOT/grubx64.efi")).toBe(grub.data);
    expect(on("debian/shimx64.efi")).toBe(shim.data);
    expect(on("debian/grubx64.efi")).toBe(grub.data);
    expect(on("debian/grub.cfg")).toContain(CONFIG);
  });

  test("without shim it is what firmware starts", async () => {
    expect(await install(grub)).toBe(true);
    expect(on("BOOT/BOOTX64.EFI")).toBe(grub.data);
  });

  test("another boot loader where firmware looks stays", async () => {
    mkdirSync(join(esp, "EFI/BOOT"), { recursive: true });
    writeFileSync(join(esp, "EFI/BOOT/BOOTX64.EFI"), "another");
    expect(await install(grub, shim)).toBe(false);
    expect(on("BOOT/BOOTX64.EFI")).toBe("another");
    expect(existsSync(join(esp, "EFI/BOOT/grubx64.efi"))).toBe(false);
    expect(on("debian/grub.cfg")).toContain(CONFIG);
  });

  test("another Debian on the partition keeps its configuration", async () => {
    mkdirSync(join(esp, "EFI/debian"), { recursive: true });
    writeFileSync(join(esp, "EFI/debian/grub.cfg"), "of another system");
    expect(await install(grub, shim)).toBe(undefined);
    expect(on("debian/grub.cfg")).toBe("of another system");
  });

  test("it can be installed once more", async () => {
    expect(await install(grub, shim)).toBe(true);
    expect(await install(grub, shim)).toBe(true);
  });
});

test.each([
  ["of bootupd", "usr/lib/bootupd/updates/EFI", "usr/lib/bootupd/updates/EFI"],
  ["by package and version", "usr/lib/efi/grub2/1:2.12/EFI", "usr/lib/efi/shim/15.8/EFI"],
])("Fedora's, in the directories %s", async (_, grubs, shims) => {
  const files = [
    { path: `${grubs}/fedora/grubx64.efi`, data: program("grub") },
    { path: `${shims}/fedora/shimx64.efi`, data: program("shim") },
    { path: `${shims}/BOOT/BOOTX64.EFI`, data: program("shim") },
    { path: `${shims}/BOOT/fbx64.efi`, data: program("fallback") },
  ];
  expect(await install(...files)).toBe(true);
  expect(on("BOOT/BOOTX64.EFI")).toBe(program("shim"));
  expect(on("BOOT/fbx64.efi")).toBe(program("fallback"));
  expect(on("fedora/grubx64.efi")).toBe(program("grub"));
  expect(on("fedora/shimx64.efi")).toBe(program("shim"));
  expect(on("fedora/grub.cfg")).toContain(CONFIG);
});

test("an image without one has none", async () => {
  expect(await install({ path: "usr/lib/shim/shimx64.efi.signed", data: "shim" })).toBe(undefined);
});

test.each([
  ["nothing", undefined, "grub.cfg"],
  ["what an installation has made", grubConfig({ ...PLACE, timeout: 5 }), "grub.cfg"],
  ["another system's configuration", "menuentry other {\n}\n", "cfsboot.cfg"],
])("where /boot has %s a program of GRUB reads its own", (_, text, name) => {
  if (text !== undefined) {
    mkdirSync(join(esp, "grub"));
    writeFileSync(join(esp, "grub/grub.cfg"), text);
  }
  const place = withDirectory(linux, AT_FDCWD, esp, (fd) => besideOthers(linux, fd, PLACE));
  expect(earlyConfig(place).split("\n").at(-2)).toBe(`configfile $prefix/${name}`);
});
