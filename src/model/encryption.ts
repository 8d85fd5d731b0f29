/** How an encrypted root is opened, and how a system is told about it. */
import { parseArgument, splitCmdline } from "../formats/cmdline.ts";

const MIB = 2 ** 20;

export const ENCRYPTIONS = ["passphrase", "tpm2"] as const;
/** What opens it at boot: somebody who types, or the machine's TPM 2. */
export type Opener = (typeof ENCRYPTIONS)[number];

export interface Encryption {
  readonly opener: Opener;
  /** Of the LUKS header. */
  readonly uuid: string;
}

/**
 * What encrypting a finished file system takes away from its end, in bytes: two headers of LUKS2, of which one stays, as
 * everything moves behind it.
 */
export const LUKS_RESERVE = 32 * MIB;

/** The name of the open volume. */
const VOLUME = "root";
export const ENCRYPTED_ROOT = `/dev/mapper/${VOLUME}`;

/** Kernel arguments that make systemd-cryptsetup-generator(8) open the volume in the initramfs, for as long as it takes. */
export function encryptionKargs({ uuid, opener }: Encryption): string[] {
  const options = opener === "tpm2" ? [`rd.luks.options=${uuid}=tpm2-device=auto`] : [];
  return [`rd.luks.name=${uuid}=${VOLUME}`, ...options];
}

/** What must be opened before there is a root, by the kernel's command line; `undefined`: nothing. */
export function openerOf(cmdline: string): Opener | undefined {
  const kargs = splitCmdline(cmdline).map(parseArgument);
  const named = (name: string) =>
    kargs.filter(({ key }) => key === `rd.luks.${name}` || key === `luks.${name}`);
  if (named("uuid").length + named("name").length === 0) return undefined;
  const isTpm = named("options").some(({ value }) => /(?:^|[=,])tpm2-device=/.test(value ?? ""));
  return isTpm ? "tpm2" : "passphrase";
}
