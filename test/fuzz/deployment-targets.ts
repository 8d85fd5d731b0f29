/** What deployments and boot menus are read from. */
import { gzipSync } from "node:zlib";
import { parseBlsEntry, serializeBlsEntry, setBlsOptions } from "../../src/formats/bls-entry.ts";
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import { CpioScanner } from "../../src/formats/cpio.ts";
import { parseGrubEnv, serializeGrubEnv } from "../../src/formats/grubenv.ts";
import { parseImageInfo } from "../../src/formats/imginfo.ts";
import { applyKargChanges, kargChanges, parseKargs } from "../../src/formats/kargs.ts";
import { parseKargsToml } from "../../src/formats/kargs-toml.ts";
import { parseMountInfo } from "../../src/formats/mountinfo.ts";
import { formatOrigin, parseOrigin, setOriginPinned } from "../../src/formats/origin.ts";
import { bootLabel, osLabel, parseOsRelease } from "../../src/formats/os-release.ts";
import { comparePackageNames } from "../../src/formats/rpm-version.ts";
import { parseStagedRecord } from "../../src/formats/staged-record.ts";
import { compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import { readInitramfs } from "../../userspace/initramfs.ts";
import { unpack } from "../../userspace/unpack.ts";
import { zstd } from "../../userspace/zstd.ts";
import { cpio, initramfsFiles } from "../formats/cpio-archive.ts";
import type { Target } from "./targets.ts";

const latin1 = (data: Uint8Array) => Buffer.from(data).toString("latin1");
const utf8 = (text: string) => Uint8Array.from(Buffer.from(text));

const ARCHIVE = cpio([
  ...initramfsFiles("6.12"),
  { name: "usr", mode: 0o40755 },
  { name: "bin", mode: 0o120777, data: "usr/bin" },
]);

/** Text of letters, lz4's repetition of it, and the end of a block, which is letters. */
const LZ4_BLOCK = [0x6f, ...utf8("abcabc"), 3, 0, 0xff, 7, 0x50, ...utf8("12345")];
const LZ4 = [0x02, 0x21, 0x4c, 0x18, LZ4_BLOCK.length, 0, 0, 0, ...LZ4_BLOCK];

export const DEPLOYMENT_TARGETS: readonly Target[] = [
  {
    name: "cpio archive",
    specimens: [ARCHIVE, cpio([{ name: "a", data: "b", padName: 3 }], "070702")],
    tokens: ["070701", "070702", "00000000", "ffffffff", "00001000", "TRAILER!!!", "\0\0\0\0"],
    place: /^cpio offset \d+: /,
    read: (data) => {
      const scanner = new CpioScanner(() => {});
      if (scanner.push(data) === data.length) scanner.end();
    },
  },
  {
    name: "initramfs",
    specimens: [ARCHIVE, gzipSync(ARCHIVE), zstd.compress(ARCHIVE)],
    tokens: ["070701", "\x1f\x8b\x08", "\0\0\0\0"],
    place: /offset \d+: |no archive/,
    read: readInitramfs,
  },
  {
    name: "lz4, legacy frames",
    specimens: [Uint8Array.from(LZ4)],
    tokens: ["\x02\x21\x4c\x18", "\xff\xff", "\0\0\0\0", "\xff\xff\x7f\0"],
    place: /^(?:lz4: lz4 offset \d+|compressed in an unknown way): /,
    read: (data) => {
      let size = 0;
      for (const piece of unpack(data)) size += piece.length;
      return size;
    },
  },
  {
    name: "boot menu entry",
    specimens: [
      utf8("title A\nversion 1\nlinux /a\ninitrd /b\noptions composefs=x\nsort-key a-0\n"),
      utf8("# c\r\n\ttitle\tB  \nefi /a.efi\narchitecture x64\nlinux"),
    ],
    tokens: ["options ", "\noptions a", " \t", "#", "linux\n"],
    place: /./,
    read: (data) => serializeBlsEntry(setBlsOptions(parseBlsEntry(data), "a")),
  },
  {
    name: "origin",
    specimens: [
      utf8(
        `[origin]\ncontainer-image-reference = ostree-unverified-image:docker://q/a\n\n[boot]\nboot_type = bls\ndigest = ${"a".repeat(64)}\n\n[image]\nmanifest_digest = sha256:${"b".repeat(64)}\n\n[cfsboot]\nkargs-added = a="b c" %3B\n`,
      ),
    ],
    tokens: ["[a]\n", "a=b\n", ";", "[", "]", "=", "kargs-added = ", " ", "%41"],
    place: /./,
    read: (data) => formatOrigin(setOriginPinned(parseOrigin(latin1(data)), true)),
  },
  {
    name: "record of what is staged",
    specimens: [
      utf8(`{"depl_id":"${"a".repeat(64)}","finalization_locked":true}`),
      utf8("b".repeat(128)),
    ],
    tokens: ["{", '"depl_id":', "a", "null", "[["],
    place: /^file: /,
    read: (data) => parseStagedRecord(data, "file"),
  },
  {
    name: "image of an early deployment",
    specimens: [
      utf8(
        '{"config":{"created":"2025-01-01T00:00:00Z","architecture":"amd64"},"manifest":{"config":{"digest":"sha256:a"},"annotations":{"org.opencontainers.image.version":"1"}}}',
      ),
    ],
    tokens: ["{", '{"manifest":', "null", "[[", '{"config":{'],
    place: /^file: /,
    read: (data) => parseImageInfo(data, "file"),
  },
  {
    name: "os-release",
    specimens: [utf8('PRETTY_NAME="A \\"B\\""\nID=a\nVERSION_ID=\'1\'\n# c\n')],
    tokens: ['"', "'", "\\", "ID=", "=", "A=b\n"],
    place: /./,
    read: (data) => bootLabel(osLabel(parseOsRelease(latin1(data)))),
  },
  {
    name: "kargs.d",
    specimens: [utf8('kargs = ["a", "b=\\"c d\\""]\nmatch-architectures = ["x86_64"]\n')],
    tokens: ["[", '"', "kargs = [", "a.", "#", '"a",', "{a={"],
    place: /^file/,
    read: (data) => {
      const text = toText(fromBytes(data));
      if (text === undefined) throw new Error("file: not UTF-8");
      return parseKargsToml(text, "file");
    },
  },
  {
    name: "kernel arguments that a person gives",
    specimens: [utf8('a=b c="d e" f-g console=ttyS0,115200n8')],
    tokens: [" ", '"', "=", "a ", "a=b ", "a-"],
    place: /^kernel argument "/,
    read: (data) => {
      const kargs = parseKargs(latin1(data));
      applyKargChanges(kargs, kargChanges(kargs, ["a", ...kargs.slice(1)]));
    },
  },
  {
    name: "GRUB's environment block",
    specimens: [utf8("# GRUB Environment Block\na=1\nb=c\\\nd\n".padEnd(1024, "#"))],
    tokens: ["#", "\n", "\\", "=", "a=1\n"],
    place: /^file: /,
    read: (data) => serializeGrubEnv(parseGrubEnv(data, "file")),
  },
  {
    name: "mountinfo",
    specimens: [
      utf8(
        "36 35 98:0 /a /b\\040c rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n1 0 0:1 / / ro - tmpfs  rw\n",
      ),
    ],
    tokens: [" ", "- ", "\\040", "1 0 0:1 / / rw - a b c\n", "\n", ","],
    place: /^mountinfo: line \d+: /,
    read: parseMountInfo,
  },
  {
    name: "names of boot menu entries",
    specimens: [utf8("bootc_debian-13.1~rc1-1+3-1.conf"), utf8("kernel-5.14.0-362^1.fc38.conf")],
    tokens: ["+1", "-", "0", "~", "a.", "+0-1.conf"],
    place: /./,
    read: (data) => {
      const fileName = latin1(data);
      const other = { fileName: `${fileName}a`, version: `${fileName}1` };
      compareSystemdBoot({ fileName, version: fileName }, other);
      comparePackageNames(fileName, other.fileName);
    },
  },
];
