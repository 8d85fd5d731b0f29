import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  MAX_ENTRY_SIZE,
  newBlsEntry,
  parseBlsEntry,
  serializeBlsEntry,
  setBlsOptions,
  setBlsSortKey,
  setBlsValue,
} from "../../src/formats/bls-entry.ts";

const ID = "7e11ac46e3e022053e7226a20104ac656bf72d1a84e3a398b7cce70e9df188b6".repeat(2);
const bytes = (text: string) => Uint8Array.from(Buffer.from(text));
const text = (data: Uint8Array) => Buffer.from(data).toString();
const parse = (content: string) => parseBlsEntry(bytes(content));

const OURS = `title Debian GNU/Linux 13 (trixie)
version 13
linux /EFI/Linux/bootc_composefs-${ID}/vmlinuz
initrd /EFI/Linux/bootc_composefs-${ID}/initrd
options rw composefs=?${ID} quiet
machine-id 6a9857a393724b7a981ebb5b8495b9ea
sort-key bootc-debian-0
x-options-source-tuned nosmt
`;

describe("reading", () => {
  test("an entry of bootc's", () => {
    const { lines, ...entry } = parse(OURS);
    expect(lines).toHaveLength(8);
    expect(entry).toEqual({
      title: "Debian GNU/Linux 13 (trixie)",
      version: "13",
      machineId: "6a9857a393724b7a981ebb5b8495b9ea",
      sortKey: "bootc-debian-0",
      architecture: undefined,
      devicetree: undefined,
      kernel: { key: "linux", path: `/EFI/Linux/bootc_composefs-${ID}/vmlinuz` },
      initrds: [`/EFI/Linux/bootc_composefs-${ID}/initrd`],
      options: `rw composefs=?${ID} quiet`,
      problem: undefined,
    });
  });

  test("the specification's example, with columns, comments and tabs", () => {
    const entry = parse(`# /boot/loader/entries/6a9857a3-3.8.0-2.fc19.x86_64.conf

title        Fedora 19 (Rawhide)
sort-key\tfedora
  \tversion   3.8.0-2.fc19.x86_64\r
  # options   none
options      root=UUID=6d3376e4 quiet
architecture x64
linux        /6a98/3.8.0-2.fc19.x86_64/linux
initrd       /6a98/3.8.0-2.fc19.x86_64/initrd
initrd       /extra.cpio
devicetree   /a.dtb
options      splash  x="a b"\t
grub_users   $grub_users
grub_class
`);
    expect(entry.problem).toBeUndefined();
    expect(entry.title).toBe("Fedora 19 (Rawhide)");
    expect(entry.sortKey).toBe("fedora");
    expect(entry.version).toBe("3.8.0-2.fc19.x86_64");
    expect(entry.options).toBe('root=UUID=6d3376e4 quiet splash  x="a b"');
    expect(entry.initrds).toEqual(["/6a98/3.8.0-2.fc19.x86_64/initrd", "/extra.cpio"]);
    expect([entry.architecture, entry.devicetree]).toEqual(["x64", "/a.dtb"]);
    expect(entry.lines.map((line) => line.key)).toEqual([
      ...[undefined, undefined, "title", "sort-key", "version", undefined, "options"],
      ...["architecture", "linux", "initrd", "initrd", "devicetree", "options"],
      ...["grub_users", "grub_class"],
    ]);
  });

  test.each(["uki", "efi", "uki-url"] as const)(
    "what %s starts (bootc#2263, bootc#2268)",
    (key) => {
      expect(parse(`version 1\n${key} /EFI/Linux/a.efi`).kernel).toEqual({
        key,
        path: "/EFI/Linux/a.efi",
      });
    },
  );

  test("of a repeated key the last one counts", () => {
    const entry = parse("title a\ntitle b\ntitle\nlinux /a\nlinux /b\n");
    expect(entry.title).toBe("b");
    expect(entry.kernel).toEqual({ key: "linux", path: "/b" });
  });

  test.each([
    ["", "expected one of linux, uki, uki-url, efi"],
    ["title Firmware update\n", "expected one of linux, uki, uki-url, efi"],
    ["linux\n", "expected one of linux, uki, uki-url, efi"],
    ["linux /a\nefi /b\n", "linux and efi, expected one of them"],
    ["linux /a\0\n", "not a text file"],
    [`linux /a\n#${"x".repeat(MAX_ENTRY_SIZE)}`, "65546 bytes, expected at most 65536"],
  ])("what is wrong with entry %#", (content, problem) => {
    expect(parse(content).problem).toBe(problem);
  });

  test("any bytes come out as they went in", () => {
    const piece = fc.constantFrom(
      "linux",
      "options",
      " ",
      "\t",
      "\n",
      "\r\n",
      "#",
      "ü",
      "\xff",
      "/a",
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const data = Uint8Array.from(Buffer.from(pieces.join(""), "latin1"));
        expect(serializeBlsEntry(parseBlsEntry(data))).toEqual(data);
      }),
    );
  });
});

describe("writing", () => {
  test("gives bootc's bytes", () => {
    const entry = newBlsEntry({
      title: "Debian GNU/Linux 13 (trixie)",
      version: "13",
      kernel: { key: "linux", path: `/EFI/Linux/bootc_composefs-${ID}/vmlinuz` },
      initrds: [`/EFI/Linux/bootc_composefs-${ID}/initrd`],
      options: `rw composefs=?${ID} quiet`,
      machineId: "6a9857a393724b7a981ebb5b8495b9ea",
      sortKey: "bootc-debian-0",
      others: [["x-options-source-tuned", "nosmt"]],
    });
    expect(text(serializeBlsEntry(entry))).toBe(OURS);
    expect(entry).toEqual(parse(OURS));
  });

  test("of a unified kernel image", () => {
    const kernel = { key: "uki", path: `/EFI/Linux/bootc/bootc_composefs-${ID}.efi` } as const;
    const entry = newBlsEntry({ title: "A", version: "1", kernel, sortKey: "bootc-a-1" });
    expect(text(serializeBlsEntry(entry))).toBe(
      `title A\nversion 1\nuki ${kernel.path}\nsort-key bootc-a-1\n`,
    );
  });

  test.each(["a\nlinux /evil", "a\r", " a", "a\0"])("a title that is %j is refused", (title) => {
    const kernel = { key: "efi", path: "/a.efi" } as const;
    expect(() => newBlsEntry({ title, version: "1", kernel })).toThrow(
      /^boot entry: title: expected one line/,
    );
    expect(() => setBlsValue(parse(OURS), "title", title)).toThrow(/^boot entry: title: /);
  });

  test("a key that is no word is refused", () => {
    expect(() => setBlsValue(parse(""), "a b", "c")).toThrow('boot entry: key "a b": ');
    expect(() => setBlsValue(parse(""), "#a", "c")).toThrow('boot entry: key "#a": ');
  });
});

describe("changing", () => {
  const FOREIGN =
    "# mine\r\ntitle\tXÿ\nsort-key   a\n\nlinux /a\noptions  one\nweird\noptions two\nend";

  test("options leave all else as it was", () => {
    const entry = setBlsOptions(parse(FOREIGN), "three composefs=x");
    expect(entry.options).toBe("three composefs=x");
    expect(text(serializeBlsEntry(entry))).toBe(
      "# mine\r\ntitle\tXÿ\nsort-key   a\n\nlinux /a\noptions  three composefs=x\nweird\nend",
    );
  });

  test("a sort-key, too, there or not", () => {
    expect(text(serializeBlsEntry(setBlsSortKey(parse(FOREIGN), "b")))).toBe(
      FOREIGN.replace("sort-key   a", "sort-key   b"),
    );
    expect(text(serializeBlsEntry(setBlsSortKey(parse("linux /a\r\noptions b"), "c")))).toBe(
      "linux /a\r\noptions b\nsort-key c\n",
    );
    expect(text(serializeBlsEntry(setBlsSortKey(parse("# a\nlinux /a\n\n\n"), "c")))).toBe(
      "# a\nlinux /a\nsort-key c\n\n\n",
    );
    expect(text(serializeBlsEntry(setBlsSortKey(parse(FOREIGN), undefined)))).toBe(
      FOREIGN.replace("sort-key   a\n", ""),
    );
    expect(text(serializeBlsEntry(setBlsValue(parse("version 1\n"), "title", "t")))).toBe(
      "title t\nversion 1\n",
    );
  });

  test("a key that had no value, and the end of the last line", () => {
    expect(text(serializeBlsEntry(setBlsOptions(parse("linux /a\noptions"), "b")))).toBe(
      "linux /a\noptions b",
    );
    expect(text(serializeBlsEntry(setBlsOptions(parse("linux /a\noptions c\r\n"), "b")))).toBe(
      "linux /a\noptions b\r\n",
    );
  });

  test("bytes that are no UTF-8 stay", () => {
    const data = Uint8Array.from(Buffer.from("title \xff\nlinux /a\noptions b\n", "latin1"));
    expect(Buffer.from(serializeBlsEntry(setBlsOptions(parseBlsEntry(data), "c")))).toEqual(
      Buffer.from("title \xff\nlinux /a\noptions c\n", "latin1"),
    );
  });

  test("what is set is what is read, and twice is as once", () => {
    const line = fc.constantFrom(
      "title a",
      "options b",
      "options",
      "sort-key\tc",
      "",
      "# d",
      "e f",
    );
    const value = fc
      .string({ unit: fc.constantFrom("a", "ü", " ", "\t", '"', "#", "="), minLength: 1 })
      .map((raw) => raw.trim())
      .filter((trimmed) => trimmed !== "");
    fc.assert(
      fc.property(fc.array(line), fc.boolean(), value, (lines, newline, wanted) => {
        const before = parse(lines.join("\n") + (newline ? "\n" : ""));
        const after = setBlsOptions(before, wanted);
        expect(after.options).toBe(wanted);
        const again = parseBlsEntry(serializeBlsEntry(after));
        expect(again).toEqual(after);
        expect(setBlsOptions(after, wanted)).toEqual(after);
        const others = (entry: typeof before) =>
          entry.lines.filter(({ key }) => key !== "options").map(({ key, value }) => [key, value]);
        expect(others(after)).toEqual(others(before));
      }),
    );
  });
});
