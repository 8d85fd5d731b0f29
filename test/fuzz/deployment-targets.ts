/** What deployments and boot menus are read from. */
import { parseBlsEntry, serializeBlsEntry, setBlsOptions } from "../../src/formats/bls-entry.ts";
import type { Target } from "./targets.ts";

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
];
