import { expect, test } from "vitest";
import { formatByteSize, parseByteSize } from "../../src/formats/byte-size.ts";
import {
  mergeInstallConfigs,
  NO_INSTALL_CONFIG,
  parseInstallToml,
} from "../../src/formats/install-toml.ts";

const parse = (text: string) => parseInstallToml(text, "file", "amd64");

test("what it says, bootc's other keys passed over", () => {
  const text = `
[install]
kargs = ["console=ttyS0"]
karg-deletes = ["quiet"]
bootloader = "grub"
root-fs-type = "xfs"
discoverable-partitions = true
root-mount-spec = "LABEL=root"
stateroot = "default"
[install.filesystem.root]
type = "btrfs"
[install.ostree]
bls-append-except-default = "x"
`;
  expect(parse(text)).toEqual({
    fileSystem: "btrfs",
    bootLoader: "grub",
    kargs: ["console=ttyS0"],
    kargDeletes: ["quiet"],
    discoverable: true,
    rootMountSpec: "LABEL=root",
  });
});

test("nothing, where it is for other machines or has no such table", () => {
  expect(parse('[install]\nkargs = ["a"]\nmatch-architectures = ["aarch64"]')).toEqual(
    NO_INSTALL_CONFIG,
  );
  expect(parse("")).toEqual(NO_INSTALL_CONFIG);
});

test.each([
  [
    '[install]\nroot-fs-type = "zfs"',
    "file: install.root-fs-type: expected one of ext4, btrfs, xfs",
  ],
  [
    '[install.filesystem.root]\ntype = "fat"',
    "file: install.filesystem.root.type: expected one of",
  ],
  ["[install]\nkargs = 1", "file: install.kargs: expected a list of strings"],
  [
    '[install]\nkargs = ["a b", "c\\nlinux /evil"]',
    'file: install.kargs: kernel argument "c\\nlinux /evil": expected printable characters',
  ],
  ['[install]\nkarg-deletes = ["=1"]', "file: install.karg-deletes: kernel argument"],
  ["install = 1", "file: install: expected a table"],
])("%s is an error that says where", (text, message) => {
  expect(() => parse(text)).toThrow(message);
});

test("several arguments in one text are several", () => {
  expect(parse('[install]\nkargs = ["a b", "c=\\"d e\\""]').kargs).toEqual([
    ...["a", "b", 'c="d e"'],
  ]);
});

test("of two the later counts, and lists are joined", () => {
  const one = parse('[install]\nkargs = ["a"]\nbootloader = "grub"\nroot-fs-type = "xfs"');
  const two = parse('[install]\nkargs = ["b"]\nroot-fs-type = "ext4"');
  expect(mergeInstallConfigs(one, two)).toMatchObject({
    kargs: ["a", "b"],
    bootLoader: "grub",
    fileSystem: "ext4",
  });
});

test("sizes as people write them", () => {
  expect(["1", "2K", "512M", "1G", "1gib", "3TB"].map(parseByteSize)).toEqual([
    ...[1, 2048, 2 ** 29, 2 ** 30, 2 ** 30, 3 * 2 ** 40],
  ]);
  expect([1, 1536, 2 ** 29, 3 * 2 ** 30].map(formatByteSize)).toEqual([
    ...["1 B", "1536 B", "512 MiB", "3 GiB"],
  ]);
  for (const text of ["", "0", "G", "1.5G", "-1", "1X", "99999999999999T"]) {
    expect(() => parseByteSize(text)).toThrow("expected one like 512M or 10G");
  }
});
