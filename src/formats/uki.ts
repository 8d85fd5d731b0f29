/**
 * Unified kernel images: PE images with a kernel, an initramfs, a command line and more in sections; and addons, which bring
 * some of that for another image.
 *
 * Specification: UAPI.5 "Unified Kernel Images"; for what it leaves open, systemd-stub. Only the sections are looked up here:
 * their content is read when it is asked for.
 */
import { type ByteRange, lengthOf, readRange } from "./byte-source.ts";
import { ascii, display, fromBytes, toText } from "./bytestring.ts";
import { type ComposefsArgument, parseComposefsArguments } from "./cmdline.ts";
import { type OsRelease, parseOsRelease } from "./os-release.ts";
import { EFI_APPLICATION, type PeImage, type PeSection, peError } from "./pe.ts";

/** What sections are called, in the order in which a TPM measures them. */
export const UKI_SECTIONS = [
  ...([".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname"] as const),
  ...([".sbat", ".pcrsig", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"] as const),
] as const;
export type UkiSectionName = (typeof UKI_SECTIONS)[number];

/** Of these a profile may have any number. */
const REPEATED: readonly UkiSectionName[] = [".dtbauto", ".efifw"];
/** An addon has at least one of them. */
const OF_ADDONS: readonly UkiSectionName[] = [".cmdline", ".dtb", ".dtbauto", ".ucode", ".initrd"];
/** More are none that a boot menu shows. */
const MAX_PROFILES = 256;
/** Largest text that is read, in bytes. */
const MAX_TEXT = 1 << 20;

/** What an image boots with when the profile is chosen: its own sections, and those of the base that it has none for. */
export interface UkiProfile {
  /** From 0 on; 0 is the one that boots unless another one is chosen. */
  readonly number: number;
  /** By name; no section that is empty. */
  readonly sections: ReadonlyMap<UkiSectionName, readonly PeSection[]>;
}

export interface Uki {
  readonly kind: "uki" | "addon";
  readonly image: PeImage;
  /** At least one: an image without profiles has the first one nonetheless. */
  readonly profiles: readonly [UkiProfile, ...UkiProfile[]];
}

/** What a PE image is: a unified kernel image, an addon for one, or neither. */
export function ukiKind({ subsystem, sections }: PeImage): Uki["kind"] | undefined {
  if (subsystem !== EFI_APPLICATION) return undefined;
  const has = (name: UkiSectionName) => sections.some((section) => section.name === ascii(name));
  if (has(".linux")) return "uki";
  return OF_ADDONS.some(has) ? "addon" : undefined;
}

/**
 * The profiles of a unified kernel image, or the sections of an addon. Throws, naming an offset, if it is neither; if a
 * section is there twice where there may be one; and if sections overwrite each other when they are loaded.
 */
export function readUki(image: PeImage): Uki {
  const kind = ukiKind(image);
  if (kind === undefined) {
    const found = `not a unified kernel image (subsystem ${image.subsystem})`;
    const expected = `subsystem ${EFI_APPLICATION} and a section .linux, or one of an addon`;
    throw peError(image.sections[0]?.offset ?? 0, `${found}; expected ${expected}`);
  }
  requireApart(image.sections);
  const starts = image.sections.flatMap(({ name }, i) =>
    kind === "uki" && name === ".profile" ? [i] : [],
  );
  const tooMany = starts[MAX_PROFILES];
  if (tooMany !== undefined) {
    const { offset } = image.sections[tooMany]!;
    throw peError(offset, `another profile; expected at most ${MAX_PROFILES}`);
  }
  const base = withoutEmpty(collect(image.sections.slice(0, starts[0])));
  const profile = (number: number): UkiProfile => {
    const own = collect(image.sections.slice(starts[number], starts[number + 1]));
    // also an empty section hides the one of the base
    const others = [...base].filter(([name]) => !own.has(name));
    return { number, sections: new Map([...others, ...withoutEmpty(own)]) };
  };
  const first = starts.length > 0 ? profile(0) : { number: 0, sections: base };
  const others = starts.slice(1).map((_, i) => profile(i + 1));
  return { kind, image, profiles: [first, ...others] };
}

/** The only section of a name; the first one of those that there may be more of. */
export function sectionOf(profile: UkiProfile, name: UkiSectionName): PeSection | undefined {
  return profile.sections.get(name)?.[0];
}

/**
 * The command line of a profile, as the stub hands it over: up to the first NUL, with spaces for control characters and none
 * around it. `undefined` if there is none. What is no UTF-8, or too long, is an error.
 */
export function ukiCmdline({ image }: Uki, profile: UkiProfile): string | undefined {
  const text = textOf(image, profile, ".cmdline");
  const cmdline = text?.replace(/[\x00-\x20\x7f]/g, " ").replace(/^ +| +$/g, "");
  return cmdline === "" ? undefined : cmdline;
}

/** The `composefs=` and `composefs.digest=` arguments of a profile. Throws, naming the argument, if one is malformed. */
export function ukiComposefs(uki: Uki, profile: UkiProfile): ComposefsArgument[] {
  try {
    return parseComposefsArguments(ukiCmdline(uki, profile) ?? "");
  } catch (error) {
    throw new Error(`section .cmdline of profile ${profile.number}`, { cause: error });
  }
}

/** What the operating system is called; `undefined` if there is no `.osrel`. Errors are as in `ukiCmdline`. */
export function ukiOsRelease({ image }: Uki, profile: UkiProfile): OsRelease | undefined {
  const text = textOf(image, profile, ".osrel");
  return text === undefined ? undefined : parseOsRelease(text);
}

/** The kernel's release, `uname -r`; `undefined` if it is not said. Errors are as in `ukiCmdline`. */
export function ukiRelease({ image }: Uki, profile: UkiProfile): string | undefined {
  return textOf(image, profile, ".uname")?.trim() || undefined;
}

/** What a boot menu calls a profile, if that is said. Errors are as in `ukiCmdline`. */
export function ukiProfileLabel(
  { image }: Uki,
  profile: UkiProfile,
): { readonly id: string | undefined; readonly title: string | undefined } {
  const label = parseOsRelease(textOf(image, profile, ".profile") ?? "");
  return { id: label.get("ID"), title: label.get("TITLE") };
}

/**
 * What bootc digests (SHA-256) to tell kernels apart: the kernel, the initramfs and, since 1.17, the device tree, the first
 * of each there is. An image without an initramfs has no such digest in bootc.
 */
export function bootDigestRanges(
  { image }: Uki,
  { deviceTree }: { readonly deviceTree: boolean },
): ByteRange[] {
  const names = deviceTree ? [".linux", ".initrd", ".dtb"] : [".linux", ".initrd"];
  return names.flatMap((name) => {
    const section = image.sections.find((one) => one.name === name);
    return section === undefined ? [] : [section.content];
  });
}

type Sections = ReadonlyMap<UkiSectionName, readonly PeSection[]>;

/** The sections that are known, of one profile. */
function collect(sections: readonly PeSection[]): Sections {
  const found = new Map<UkiSectionName, PeSection[]>();
  for (const section of sections) {
    const name = UKI_SECTIONS.find((one) => one === section.name);
    if (name === undefined) continue;
    const before = found.get(name);
    if (before === undefined) found.set(name, [section]);
    else if (REPEATED.includes(name)) before.push(section);
    else {
      const { offset } = before[0]!;
      throw peError(section.offset, `another section ${name}; expected only that at ${offset}`);
    }
  }
  return found;
}

/** An empty section is none: so the stub has it. */
function withoutEmpty(sections: Sections): Sections {
  const isFull = ({ virtualSize }: PeSection) => virtualSize > 0;
  return new Map(
    [...sections]
      .map(([name, all]) => [name, all.filter(isFull)] as const)
      .filter(([, all]) => all.length > 0),
  );
}

/** The loader copies one section after the other to memory, and does not see whether it overwrites something. */
function requireApart(sections: readonly PeSection[]): void {
  const loaded = sections.filter(({ virtualSize }) => virtualSize > 0);
  loaded.sort((a, b) => a.virtualAddress - b.virtualAddress);
  for (const [i, section] of loaded.entries()) {
    const before = loaded[i - 1];
    if (before === undefined) continue;
    const end = before.virtualAddress + before.virtualSize;
    if (section.virtualAddress >= end) continue;
    const found = `section "${display(section.name)}" is loaded at ${section.virtualAddress}`;
    const expected = `expected it behind "${display(before.name)}", which goes to ${end}`;
    throw peError(section.offset, `${found}; ${expected}`);
  }
}

/** Up to the first NUL. What is loaded behind the content is zeros, too. */
function textOf(image: PeImage, profile: UkiProfile, name: UkiSectionName): string | undefined {
  const section = sectionOf(profile, name);
  if (section === undefined) return undefined;
  const size = lengthOf(section.content);
  if (size > MAX_TEXT) {
    throw peError(section.offset, `section ${name} of ${size} bytes; expected at most ${MAX_TEXT}`);
  }
  const bytes = readRange(image.source, section.content);
  const end = bytes.indexOf(0);
  const text = toText(fromBytes(bytes, 0, end < 0 ? bytes.length : end));
  if (text !== undefined) return text;
  throw peError(section.content.start, `section ${name}: expected UTF-8`);
}
