/** The entries of a boot menu that boot our deployments, told from those of others. */
import type { BlsEntry } from "../formats/bls-entry.ts";
import type { Tries } from "../formats/boot-count.ts";
import { type ComposefsArgument, parseComposefsArguments } from "../formats/cmdline.ts";
import { hashOfHexLength } from "../formats/digest.ts";
import { UKI_SUFFIX } from "../formats/uki-names.ts";

/** An entry of the boot menu that boots one of our deployments. */
export interface MenuEntry {
  /** Of the entry's file, with its boot counter; for messages. */
  readonly fileName: string;
  /** The deployment: hex digest of its image. */
  readonly id: string;
  /** Whether it boots without fs-verity. Of a unified kernel image, which alone knows, `false` until that was read. */
  readonly insecure: boolean;
  readonly bootType: "bls" | "uki";
  /** What kernel and initramfs are kept under: the id of the deployment that brought them. */
  readonly artifact: string;
  /** The directory, or the file of a UKI, that has them: the artifact's name, or without a prefix (see `artifactOf`). */
  readonly directory: string;
  /** Absent: it has proved itself, or is not counted. */
  readonly tries: Tries | undefined;
  /** All that the file says. */
  readonly bls: BlsEntry;
}

const PREFIX = "bootc_composefs-";

/** The name of the directory that belongs to an artifact. */
export function artifactName(artifact: string): string {
  return PREFIX + artifact;
}

/** The name of the unified kernel image that belongs to an artifact. */
export function ukiName(artifact: string): string {
  return artifactName(artifact) + UKI_SUFFIX;
}

/** What is called so by today's names: early releases of bootc wrote no prefix. */
export function withPrefix(name: string): string {
  return name.startsWith(PREFIX) ? name : PREFIX + name;
}

/** Whether such a name is that of a unified kernel image. */
export function isUkiName(name: string): boolean {
  return name.endsWith(UKI_SUFFIX);
}

/**
 * The artifact that such a name stands for, with or without the prefix; `undefined` if it is nobody's.
 */
export function artifactOf(name: string): string | undefined {
  const stem = isUkiName(name) ? name.slice(0, -UKI_SUFFIX.length) : name;
  const bare = stem.startsWith(PREFIX) ? stem.slice(PREFIX.length) : stem;
  return /^[0-9a-f]+$/.test(bare) && hashOfHexLength(bare.length) !== undefined ? bare : undefined;
}

/**
 * Reads an entry as one of ours; `undefined` if it boots something else. Of several images on its command line (one for
 * each format) the deployment is the one that `known` says there is, else the first.
 */
export function ownEntry(
  fileName: string,
  bls: BlsEntry,
  tries: Tries | undefined,
  known: (id: string) => boolean,
): MenuEntry | undefined {
  const { kernel, problem } = bls;
  if (kernel === undefined || problem !== undefined) return undefined;
  const parts = kernel.path.split("/").filter((part) => part !== "");
  if (kernel.key === "linux") {
    const directory = parts.at(-2) ?? "";
    const artifact = artifactOf(directory);
    const images = imagesOf(bls.options ?? "");
    const image = images.find(({ digest }) => known(digest)) ?? images[0];
    if (artifact === undefined || image === undefined) return undefined;
    const { digest: id, insecure } = image;
    return { fileName, id, insecure, bootType: "bls", artifact, directory, tries, bls };
  }
  // The command line of a UKI is in itself, and its name is its image's digest.
  const name = parts.at(-1) ?? "";
  const artifact = isUkiName(name) ? artifactOf(name) : undefined;
  if (artifact === undefined) return undefined;
  const found = {
    id: artifact,
    insecure: false,
    bootType: "uki",
    artifact,
    directory: name,
  } as const;
  return { fileName, ...found, tries, bls };
}

function imagesOf(options: string): ComposefsArgument[] {
  try {
    return parseComposefsArguments(options);
  } catch {
    return []; // nothing that composefs-setup-root would boot
  }
}

/** The first entry of each deployment: a second one, another tool's or an older program's, boots the same. */
export function distinct(menu: readonly MenuEntry[]): MenuEntry[] {
  const ids = new Set<string>();
  return menu.filter(({ id }) => !ids.has(id) && ids.add(id));
}
