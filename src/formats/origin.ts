/**
 * `<id>.origin` in a deployment's state directory: which image the deployment is of, and what it is booted by. bootc's
 * file; an INI file that bootc rewrites item by item, so that items and sections it does not know stay.
 *
 *     [origin]
 *     container-image-reference = ostree-unverified-image:docker://quay.io/x/y:tag
 *
 *     [boot]
 *     boot_type = bls
 *     digest = <SHA-256 of kernel and initramfs, 64 hex digits>
 *
 *     [image]
 *     manifest_digest = sha256:<64 hex digits>
 *
 *     [cfsboot]
 *     pinned = true
 *     kargs-added = <arguments>
 *     kargs-deleted = <arguments>
 *     etc-conflicts = merge
 *
 * The last section is ours. There a `%`, `;` or `#`, and what is no printable ASCII, stands as `%HH` of its UTF-8.
 */
import { fromText, toText } from "./bytestring.ts";
import { splitCmdline } from "./cmdline.ts";
import { ETC_CONFLICTS, type EtcConflicts, parseEtcConflicts } from "./etc-conflicts.ts";
import { formatIni, type IniFile, iniValue, parseIni, setIniValue } from "./ini.ts";

/** Whose word is taken for what an image is. Absent: nobody's. */
export type ImageSignature = "containerPolicy" | { readonly ostreeRemote: string };

export const TRANSPORTS = [
  "registry",
  "oci",
  "oci-archive",
  "docker-archive",
  "docker-daemon",
  "containers-storage",
  "dir",
] as const;
export type Transport = (typeof TRANSPORTS)[number];

export interface OriginImage {
  readonly transport: Transport;
  /** What comes after the transport: `quay.io/x/y:tag`, `/path:tag`. */
  readonly name: string;
  readonly signature: ImageSignature | undefined;
}

export type BootType = "bls" | "uki";

/** The local changes of a deployment's kernel arguments, as they are on a command line. */
export interface LocalKargs {
  readonly added: readonly string[];
  readonly deleted: readonly string[];
}

export interface Origin {
  /** All of the file. */
  readonly file: IniFile;
  readonly image: OriginImage | undefined;
  readonly bootType: BootType | undefined;
  readonly bootDigest: string | undefined;
  /** With its `sha256:`. */
  readonly manifestDigest: string | undefined;
  readonly pinned: boolean;
  readonly kargs: LocalKargs;
  /** What is to be done about conflicts in `/etc` when the deployment is finalized; absent: as configured. */
  readonly etcConflicts: EtcConflicts | undefined;
  /** What is wrong, for people; each names the line or the item. */
  readonly problems: readonly string[];
}

/** What a deployment is of. */
export interface NewOrigin {
  readonly image: OriginImage;
  readonly bootType: BootType;
  /** Absent, here and below: it is not known. */
  readonly bootDigest: string | undefined;
  readonly manifestDigest: string | undefined;
}

/** Section and key of each item. */
const ITEMS = {
  image: ["origin", "container-image-reference"],
  bootType: ["boot", "boot_type"],
  bootDigest: ["boot", "digest"],
  manifestDigest: ["image", "manifest_digest"],
  pinned: ["cfsboot", "pinned"],
  kargsAdded: ["cfsboot", "kargs-added"],
  kargsDeleted: ["cfsboot", "kargs-deleted"],
  etcConflicts: ["cfsboot", "etc-conflicts"],
} as const;

const MAX_SIZE = 1 << 20;

/** Reads a file's text. Never throws: what makes no sense is absent, and told in `problems`. */
export function parseOrigin(text: string): Origin {
  if (text.length <= MAX_SIZE) return view(parseIni(text));
  const problem = `${text.length} characters, expected at most ${MAX_SIZE}`;
  return view({ sections: [], problems: [problem] });
}

/** The text of the file, as bootc writes it. */
export function formatOrigin(origin: Origin): string {
  return formatIni(origin.file);
}

/** The origin of a new deployment, with bootc's bytes. */
export function newOrigin(fields: NewOrigin): Origin {
  return setOriginBoot(
    setOriginImage(view({ sections: [], problems: [] }), fields.image),
    fields.bootType,
    fields.bootDigest,
    fields.manifestDigest,
  );
}

/** The origin with another image reference, as a switch to a name of the same image needs it. */
export function setOriginImage(origin: Origin, image: OriginImage): Origin {
  return set(origin, ITEMS.image, formatOriginImage(image));
}

/** The origin with other facts of what is booted; of `undefined` ones as it was. */
export function setOriginBoot(
  origin: Origin,
  bootType: BootType | undefined,
  bootDigest: string | undefined,
  manifestDigest: string | undefined,
): Origin {
  const values = { bootType, bootDigest, manifestDigest };
  return (Object.keys(values) as (keyof typeof values)[]).reduce(
    (out, key) => (values[key] === undefined ? out : set(out, ITEMS[key], values[key])),
    origin,
  );
}

/** The origin of a deployment that is to be kept, or need not be. */
export function setOriginPinned(origin: Origin, pinned: boolean): Origin {
  return set(origin, ITEMS.pinned, pinned ? "true" : undefined);
}

/** The origin with other local changes of kernel arguments. */
export function setOriginKargs(origin: Origin, { added, deleted }: LocalKargs): Origin {
  const value = (kargs: readonly string[]) => encode(kargs.join(" ")) || undefined;
  return set(set(origin, ITEMS.kargsAdded, value(added)), ITEMS.kargsDeleted, value(deleted));
}

/** The origin of a deployment whose `/etc` is to be merged in another way than configured. */
export function setOriginEtcConflicts(origin: Origin, how: EtcConflicts | undefined): Origin {
  return set(origin, ITEMS.etcConflicts, how);
}

const UNVERIFIED = "ostree-unverified-image:";
const SIGNED = "ostree-image-signed:";

/** `ostree-unverified-image:docker://quay.io/x/y:tag`, or the like. */
export function formatOriginImage({ transport, name, signature }: OriginImage): string {
  const reference = transport === "registry" ? `docker://${name}` : `${transport}:${name}`;
  if (signature === undefined) return `${UNVERIFIED}${reference}`;
  if (signature === "containerPolicy") return `${SIGNED}${reference}`;
  return `ostree-remote-image:${signature.ostreeRemote}:${reference}`;
}

/** Reads an image reference with its way of verification. Throws an error that says what was expected. */
export function parseOriginImage(text: string): OriginImage {
  const fail = (why: string) => new Error(`${JSON.stringify(text.slice(0, 300))}: ${why}`);
  const [scheme, afterScheme] = cut(text);
  const parseReference = (
    reference: string,
    signature: ImageSignature | undefined,
  ): OriginImage => {
    const [word, rest] = cut(reference);
    const transport = word === "docker" ? "registry" : TRANSPORTS.find((one) => one === word);
    if (transport === undefined || rest === undefined) {
      throw fail("expected a transport and a name, such as docker://quay.io/x/y:tag");
    }
    const slashes = word === "docker";
    if (slashes && !rest.startsWith("//")) throw fail("expected // after docker:");
    const name = slashes ? rest.slice(2) : rest;
    if (name === "") throw fail("expected a name after the transport");
    return { transport, name, signature };
  };
  if (afterScheme === undefined) throw fail("expected ostree-unverified-image:TRANSPORT:NAME");
  if (scheme === "ostree-unverified-image") return parseReference(afterScheme, undefined);
  if (scheme === "ostree-unverified-registry") {
    return parseReference(`registry:${afterScheme}`, undefined);
  }
  if (scheme === "ostree-image-signed") return parseReference(afterScheme, "containerPolicy");
  if (scheme !== "ostree-remote-image" && scheme !== "ostree-remote-registry") {
    throw fail("expected ostree-unverified-image:, ostree-image-signed: or ostree-remote-image:");
  }
  const [ostreeRemote, reference] = cut(afterScheme);
  if (reference === undefined) throw fail("expected : after the name of the remote");
  const registry = scheme === "ostree-remote-registry" ? "registry:" : "";
  return parseReference(`${registry}${reference}`, { ostreeRemote });
}

function cut(text: string): [string, string | undefined] {
  const colon = text.indexOf(":");
  return colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
}

function set(
  origin: Origin,
  [section, key]: readonly [string, string],
  value: string | undefined,
): Origin {
  return view(setIniValue(origin.file, section, key, value));
}

function view(file: IniFile): Origin {
  const problems = [...file.problems];
  const read = <T>(
    [section, key]: readonly [string, string],
    expected: string,
    parse: (value: string) => T | undefined,
  ): T | undefined => {
    const value = iniValue(file, section, key);
    if (value === undefined) return undefined;
    const out = parse(value);
    if (out === undefined) {
      const shown = JSON.stringify(value.slice(0, 300));
      problems.push(`[${section}] ${key}: expected ${expected}, not ${shown}`);
    }
    return out;
  };
  const matching = (pattern: RegExp) => (value: string) =>
    pattern.test(value) ? value : undefined;
  const kargs = (value: string) => {
    const text = decode(value);
    return text === undefined ? undefined : splitCmdline(text);
  };
  return {
    file,
    image: read(ITEMS.image, "ostree-unverified-image:TRANSPORT:NAME", (value) => {
      try {
        return parseOriginImage(value);
      } catch {
        return undefined;
      }
    }),
    bootType: read(ITEMS.bootType, "bls or uki", (value) =>
      value === "bls" || value === "uki" ? value : undefined,
    ),
    bootDigest: read(ITEMS.bootDigest, "64 hex digits", matching(/^[0-9a-f]{64}$/)),
    manifestDigest: read(
      ITEMS.manifestDigest,
      "sha256: or sha512: and hex digits",
      matching(/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/),
    ),
    pinned:
      read(ITEMS.pinned, "true or false", (value) =>
        value === "true" ? true : value === "false" ? false : undefined,
      ) ?? false,
    kargs: {
      added: read(ITEMS.kargsAdded, "kernel arguments", kargs) ?? [],
      deleted: read(ITEMS.kargsDeleted, "kernel arguments", kargs) ?? [],
    },
    etcConflicts: read(ITEMS.etcConflicts, ETC_CONFLICTS.join(", "), parseEtcConflicts),
    problems,
  };
}

function encode(text: string): string {
  return fromText(text).replaceAll(
    /[^ !-~]|[%;#]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`,
  );
}

function decode(value: string): string | undefined {
  const bytes = fromText(value).replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return toText(bytes as ReturnType<typeof fromText>);
}
