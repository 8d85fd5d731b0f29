import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { lengthOf, readPieces, readRange, sourceOf } from "../../src/formats/byte-source.ts";
import { readPe } from "../../src/formats/pe.ts";
import {
  bootDigestRanges,
  readUki,
  sectionOf,
  UKI_SECTIONS,
  type Uki,
  ukiCmdline,
  ukiComposefs,
  ukiKind,
  ukiOsRelease,
  ukiProfileLabel,
  ukiRelease,
} from "../../src/formats/uki.ts";
import { type BuiltPe, type BuiltSection, pe } from "./pe-builder.ts";

const LINUX = { name: ".linux", data: "kernel" };
const DIGEST = "ab".repeat(64);

const image = (sections: readonly BuiltSection[], more: Partial<BuiltPe> = {}) =>
  readPe(sourceOf(pe({ sections, ...more })));
const uki = (...sections: BuiltSection[]) => readUki(image(sections));
const cmdline = (data: string | Uint8Array): BuiltSection => ({ name: ".cmdline", data });
const cmdlines = (one: Uki) => one.profiles.map((profile) => ukiCmdline(one, profile));
const first = (one: Uki) => one.profiles[0];

test.each<[string, string | undefined, string[]]>([
  ["a kernel alone", "uki", [".linux"]],
  ["a kernel with all else", "uki", [...UKI_SECTIONS]],
  ["a command line", "addon", [".text", ".cmdline"]],
  ["a device tree", "addon", [".dtb"]],
  ["a device tree to choose from", "addon", [".dtbauto"]],
  ["microcode", "addon", [".ucode"]],
  ["an initramfs", "addon", [".initrd"]],
  ["a boot loader", undefined, [".text", ".osrel", ".sbat"]],
  ["a kernel that is no unified one", undefined, [".setup", ".text", ".linuxx"]],
])("what an image is: %s", (_, kind, names) => {
  expect(ukiKind(image(names.map((name) => ({ name, data: "x" }))))).toBe(kind);
});

test("what is no EFI application is neither an image nor an addon", () => {
  const driver = image([LINUX], { subsystem: 11 });
  expect(ukiKind(driver)).toBeUndefined();
  expect(() => readUki(driver)).toThrow(
    "PE offset 328: not a unified kernel image (subsystem 11); expected subsystem 10 and a section",
  );
});

test("texts are read as the stub reads them", () => {
  const one = uki(
    LINUX,
    cmdline("\n root=/dev/vda\tro  quiet=é \n\0not part of it"),
    { name: ".osrel", data: 'ID=debian\nPRETTY_NAME="Debian 13"\n' },
    { name: ".uname", data: "6.12.1\n" },
  );
  expect(cmdlines(one)).toEqual(["root=/dev/vda ro  quiet=é"]);
  expect(ukiOsRelease(one, first(one))?.get("PRETTY_NAME")).toBe("Debian 13");
  expect(ukiRelease(one, first(one))).toBe("6.12.1");
});

test("what is not there, or empty, is undefined", () => {
  for (const more of [[], [".cmdline", ".osrel", ".uname"].map((name) => ({ name, data: "" }))]) {
    const one = uki(LINUX, ...more);
    expect(cmdlines(one)).toEqual([undefined]);
    expect(ukiOsRelease(one, first(one))).toBeUndefined();
    expect(ukiRelease(one, first(one))).toBeUndefined();
    expect(ukiProfileLabel(one, first(one))).toEqual({ id: undefined, title: undefined });
  }
  expect(cmdlines(uki(LINUX, cmdline(" \n\0")))).toEqual([undefined]);
});

test("a command line goes as far as is loaded, not as far as the file is padded", () => {
  const data = "quiet composefs=not-loaded";
  expect(cmdlines(uki(LINUX, { ...cmdline(data), virtualSize: 5 }))).toEqual(["quiet"]);
  // behind it in the file is the next section; in memory, zeros are
  const full = { ...cmdline("x".repeat(512)), virtualSize: 600 };
  expect(cmdlines(uki(full, LINUX))).toEqual(["x".repeat(512)]);
});

test("text that is no UTF-8, or too long, is refused", () => {
  const bad = uki(LINUX, cmdline(Uint8Array.of(0x61, 0xff)));
  expect(() => ukiCmdline(bad, first(bad))).toThrow(
    "PE offset 1024: section .cmdline: expected UTF-8",
  );
  const long = uki(LINUX, cmdline(Buffer.alloc((1 << 20) + 1, "x")));
  expect(() => ukiCmdline(long, first(long))).toThrow(
    "PE offset 368: section .cmdline of 1048577 bytes; expected at most 1048576",
  );
});

test("the composefs arguments are found, in both forms", () => {
  const one = uki(
    LINUX,
    cmdline(`rw composefs.digest=?v1-sha512-12:${DIGEST} composefs=${DIGEST}`),
  );
  expect(
    ukiComposefs(one, first(one)).map(({ digest, erofs, insecure }) => [digest, erofs, insecure]),
  ).toEqual([
    [DIGEST, 1, true],
    [DIGEST, undefined, false],
  ]);
  // a NUL or a newline at the end is none of the digest's digits
  for (const end of ["\0", "\n", "\n\0\0"]) {
    const ended = uki(LINUX, cmdline(`composefs=${DIGEST}${end}`));
    expect(ukiComposefs(ended, first(ended))[0]?.digest).toBe(DIGEST);
  }
  const bad = uki(LINUX, cmdline("composefs=123"));
  expect(() => ukiComposefs(bad, first(bad))).toThrow("section .cmdline of profile 0");
});

test("a profile has its own sections, and those of the base that it has none for", () => {
  const one = uki(
    LINUX,
    { name: ".osrel", data: "ID=base" },
    cmdline("base"),
    { name: ".profile", data: 'ID=regular\nTITLE="Regular boot"' },
    { name: ".profile", data: "ID=reset" },
    cmdline("reset"),
    { name: ".profile", data: "ID=none" },
    cmdline(""),
    { name: ".linux", data: "another kernel" },
  );
  expect(one.profiles.map(({ number }) => number)).toEqual([0, 1, 2]);
  expect(cmdlines(one)).toEqual(["base", "reset", undefined]);
  expect(one.profiles.map((profile) => ukiProfileLabel(one, profile))).toEqual([
    { id: "regular", title: "Regular boot" },
    { id: "reset", title: undefined },
    { id: "none", title: undefined },
  ]);
  const kernels = one.profiles.map((profile) =>
    Buffer.from(readRange(one.image.source, sectionOf(profile, ".linux")!.content)).toString(),
  );
  expect(kernels).toEqual(["kernel", "kernel", "another kernel"]);
  expect(one.profiles.map((profile) => ukiOsRelease(one, profile)?.get("ID"))).toEqual([
    "base",
    "base",
    "base",
  ]);
});

test("the first profile goes before the base also in its composefs argument", () => {
  const one = uki(
    LINUX,
    cmdline(`composefs=${DIGEST}`),
    { name: ".profile", data: "ID=a" },
    cmdline(`composefs=${"cd".repeat(64)}`),
  );
  expect(ukiComposefs(one, first(one)).map(({ digest }) => digest)).toEqual(["cd".repeat(64)]);
});

test.each(
  UKI_SECTIONS.filter((name) => ![".dtbauto", ".efifw", ".profile"].includes(name)).map((name) => [
    name,
  ]),
)("a profile has at most one section %s", (name) => {
  const section = { name, data: "x" };
  const profile = { name: ".profile", data: "ID=x" };
  const base = name === ".linux" ? [] : [LINUX];
  expect(() => uki(...base, section, section)).toThrow(
    new RegExp(`^PE offset \\d+: another section ${name}; expected only that at \\d+$`),
  );
  expect(() => uki(...base, profile, section, section, LINUX)).toThrow("another section");
  expect(uki(...base, section, profile, section, profile, section).profiles).toHaveLength(2);
});

test("of some sections there may be many", () => {
  const one = uki(LINUX, { name: ".dtbauto", data: "a" }, { name: ".dtbauto", data: "b" });
  expect(first(one).sections.get(".dtbauto")).toHaveLength(2);
});

test("more profiles than a boot menu shows are refused", () => {
  const profiles = Array.from({ length: 257 }, () => ({ name: ".profile", data: "ID=x" }));
  expect(uki(LINUX, ...profiles.slice(1)).profiles).toHaveLength(256);
  expect(() => uki(LINUX, ...profiles)).toThrow("another profile; expected at most 256");
});

test("sections that overwrite each other in memory are refused", () => {
  // what happens when a kernel has grown and addresses are still those of the last release
  const sections = [
    { name: ".initrd", data: "initramfs", virtualAddress: 0x3000 },
    { name: ".linux", data: Buffer.alloc(0x1001), virtualAddress: 0x2000 },
  ];
  expect(() => uki(...sections)).toThrow(
    'PE offset 328: section ".initrd" is loaded at 12288; expected it behind ".linux", which goes to 12289',
  );
  expect(uki({ ...sections[0]!, virtualAddress: 0x3001 }, sections[1]!).kind).toBe("uki");
});

test("bootc's digest is of the kernel, the initramfs and the device tree", () => {
  const one = uki(
    { name: ".dtb", data: "tree" },
    { name: ".initrd", data: "initramfs" },
    LINUX,
    { name: ".profile", data: "ID=x" },
    { name: ".initrd", data: "another" },
  );
  const digest = (deviceTree: boolean) => {
    const hash = createHash("sha256");
    const ranges = bootDigestRanges(one, { deviceTree });
    for (const piece of readPieces(one.image.source, ranges)) hash.update(piece);
    return hash.digest("hex");
  };
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  expect(digest(false)).toBe(sha256("kernelinitramfs"));
  expect(digest(true)).toBe(sha256("kernelinitramfstree"));
});

test("any sections are found again", () => {
  const names = UKI_SECTIONS.filter((name) => name !== ".profile" && name !== ".linux");
  const section = fc.record({
    name: fc.constantFrom(...names),
    data: fc.string({ minLength: 1, maxLength: 600, unit: "grapheme-ascii" }),
  });
  const sections = fc.uniqueArray(section, { selector: ({ name }) => name });
  fc.assert(
    fc.property(sections, fc.array(sections, { maxLength: 3 }), (base, profiles) => {
      const one = uki(
        LINUX,
        ...base,
        ...profiles.flatMap((own) => [{ name: ".profile", data: "ID=x" }, ...own]),
      );
      const expected = (profiles.length > 0 ? profiles : [[]]).map((own) =>
        Object.fromEntries([...base, ...own].map(({ name, data }) => [name, data])),
      );
      const found = one.profiles.map((profile) =>
        Object.fromEntries(
          names.flatMap((name) => {
            const part = sectionOf(profile, name)?.content;
            if (part === undefined) return [];
            expect(lengthOf(part)).toBeGreaterThan(0);
            return [[name, Buffer.from(readRange(one.image.source, part)).toString()]];
          }),
        ),
      );
      expect(found).toEqual(expected);
    }),
  );
});
