/**
 * Encryption of the root, as LUKS2: cryptsetup(8) makes it, systemd-cryptsetup(8) opens it at boot, systemd-cryptenroll(1)
 * gives the key to a TPM.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HintedError } from "../../src/linux/hint.ts";
import { type Encryption, LUKS_RESERVE } from "../../src/model/encryption.ts";
import { runProgram } from "./programs.ts";

const MIB = 2 ** 20;
/** Of a disk made in a file: opening it takes no more memory (KiB), as the machine may have less than the one that makes it. */
const PORTABLE = ["--pbkdf-memory", `${256 * 1024}`];
/** Where key files are that nobody shall find later. */
const VOLATILE = "/run";
const TPM_DEVICE = "/dev/tpmrm0";

/** Who opens the root, besides the machine itself. */
export interface Unlocking {
  /** Absent with a TPM: a recovery key is made. */
  readonly passphrase: Uint8Array | undefined;
  /** Whether another machine opens it, too, which may have less memory. */
  readonly portable: boolean;
  /** Told once. */
  readonly recoveryKey: (key: string) => void;
}

/** An encrypted volume that is open. */
export interface OpenVolume extends Disposable {
  /** What is in it, as a device. */
  readonly device: string;
}

/** Makes the device an encrypted volume and opens it, until it is disposed of. Needs root and the kernel's dm-crypt. */
export function formatVolume(
  device: string,
  { uuid, opener }: Encryption,
  { passphrase, portable, recoveryKey }: Unlocking,
): OpenVolume {
  // without a passphrase something that is forgotten once there are better keys
  const key = passphrase ?? Buffer.from(randomBytes(32).toString("hex"));
  const options = ["--batch-mode", "--type", "luks2", "--key-file", "-"];
  const names = ["--uuid", uuid, "--label", "root", ...(portable ? PORTABLE : [])];
  runProgram("cryptsetup", ["luksFormat", ...options, ...names, device], { input: key });
  const name = `cfsboot-${uuid}`;
  runProgram("cryptsetup", ["open", ...options, device, name], { input: key });
  const volume = {
    device: `/dev/mapper/${name}`,
    [Symbol.dispose]: () => void runProgram("cryptsetup", ["close", name]),
  };
  try {
    if (opener === "tpm2") {
      const made = enrollTpm(device, key, passphrase !== undefined);
      if (made !== undefined) recoveryKey(made);
    }
  } catch (error) {
    volume[Symbol.dispose]();
    throw error;
  }
  return volume;
}

/**
 * Encrypts a file with a file system in it, whose last `LUKS_RESERVE` bytes are free. Needs neither root nor the kernel's
 * help: nobody else has the file open, so that nothing is locked.
 */
export function encryptFile(file: string, { uuid }: Encryption, key: Uint8Array): void {
  const how = ["--encrypt", "--type", "luks2", "--batch-mode", "--disable-locks"];
  const names = ["--uuid", uuid, "--label", "root"];
  const sizes = ["--reduce-device-size", `${LUKS_RESERVE / MIB}M`];
  const args = [...how, "--force-offline-reencrypt", ...names, ...sizes, ...PORTABLE];
  runProgram("cryptsetup", ["reencrypt", ...args, "--key-file", "-", file], { input: key });
}

/** Throws on a machine without a TPM 2, or where nothing can be told to it. */
export function requireTpm(): void {
  if (statSync(TPM_DEVICE, { throwIfNoEntry: false }) === undefined) {
    throw new HintedError(
      `this machine has no TPM 2: there is no ${TPM_DEVICE}`,
      "--encrypt passphrase does without",
    );
  }
  runProgram("systemd-cryptenroll", ["--version"]);
}

/**
 * Lets the TPM open the volume. `key` opens it now; without `keep` it does not from then on, and a recovery key, which is
 * returned, does.
 */
function enrollTpm(device: string, key: Uint8Array, keep: boolean): string | undefined {
  const directory = mkdtempSync(join(VOLATILE, "cfsboot-"));
  try {
    const file = join(directory, "key");
    writeFileSync(file, key, { mode: 0o600 });
    const enroll = (...args: string[]) =>
      runProgram("systemd-cryptenroll", [`--unlock-key-file=${file}`, ...args, device]);
    const recoveryKey = keep ? undefined : enroll("--recovery-key").trim();
    // the last one, as it may take the first key away
    enroll("--tpm2-device=auto", ...(keep ? [] : ["--wipe-slot=0"]));
    return recoveryKey;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
