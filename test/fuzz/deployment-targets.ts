/** What deployments and boot menus are read from. */
import { parseBlsEntry, serializeBlsEntry, setBlsOptions } from "../../src/formats/bls-entry.ts";
import { formatOrigin, parseOrigin, setOriginPinned } from "../../src/formats/origin.ts";
import { comparePackageNames } from "../../src/formats/rpm-version.ts";
import { compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import type { Target } from "./targets.ts";

const latin1 = (data: Uint8Array) => Buffer.from(data).toString("latin1");
const utf8 = (text: string) => Uint8Array.from(Buffer.from(text));

export const DEPLOYMENT_TARGETS: readonly Target[] = [
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
