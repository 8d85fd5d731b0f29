/** What an installation does, as steps: plain data for scripts, and the words for people that are made of it. */
import { formatByteSize } from "../formats/byte-size.ts";
import { PARTITION_NAMES } from "./disk-layout.ts";
import type { Opener } from "./encryption.ts";

export type InstallStep =
  | PartitionStep
  /** The root; with the key that opens it besides the TPM, if one was made. */
  | { readonly do: "encrypt"; readonly opener: Opener; readonly recoveryKey: string | null }
  | PutStep
  /** `esp`: where its partition is mounted; `null`: it is on the disk that was divided. */
  | {
      readonly do: "install-boot-loader";
      readonly bootLoader: "systemd" | "grub";
      readonly esp: string | null;
    }
  /** To start that boot loader first. */
  | { readonly do: "tell-firmware" };

/** A partition table is made, and file systems; sizes in bytes. */
export interface PartitionStep {
  readonly do: "partition";
  readonly path: string;
  readonly size: number;
  readonly partitions: readonly {
    readonly name: string;
    readonly size: number;
    readonly fileSystem: string | null;
  }[];
  /** Whether the root takes what is left of a larger disk at the first boot. */
  readonly growsLater: boolean;
}

/** The image is put on the disk, or into what is mounted on a directory. */
export interface PutStep {
  readonly do: "install";
  /** The deployment; `null`: it is not known before the image is there. */
  readonly id: string | null;
  readonly path: string;
  /** The reference that upgrades follow. */
  readonly follows: string;
  /** Besides the image's own. */
  readonly kargs: readonly string[];
  readonly verity: "required" | "at-first-boot" | "none";
  /** Whether it goes on with what is there of an installation that was not finished. */
  readonly resumed: boolean;
  /** Where a file system of its own for `/var` is mounted. */
  readonly separateVar: string | null;
}

/** An installation for people, as that which is to be done: lines, in the order of the steps. */
export function installText(steps: readonly InstallStep[]): string[] {
  const has = (what: InstallStep["do"]) => steps.some((step) => step.do === what);
  const lines = (step: InstallStep): string[] => {
    switch (step.do) {
      case "partition":
        return partitionText(step, has("encrypt"));
      case "encrypt":
        return [OPENERS[step.opener]];
      case "install":
        return [
          ...(has("partition") ? [] : [`install into ${step.path}; nothing in it is removed`]),
          ...putText(step),
          ...(has("install-boot-loader") ? [] : ["install no boot loader"]),
        ];
      case "install-boot-loader": {
        const place = step.esp === null ? "" : ` on ${step.esp}`;
        return [`install ${LOADER_NAMES[step.bootLoader]}${place}`];
      }
      case "tell-firmware":
        return ["tell the firmware to start that boot loader first (efibootmgr)"];
    }
  };
  return steps.flatMap(lines);
}

function partitionText(
  { path, size, partitions, growsLater }: PartitionStep,
  encrypted: boolean,
): string[] {
  const width = Math.max(...partitions.map(({ name }) => name.length));
  const rows = partitions.map(({ name, size, fileSystem }) => {
    const how = encrypted && name === PARTITION_NAMES.root ? ", encrypted" : "";
    const room = formatByteSize(size).padStart(9);
    return `  ${name.padEnd(width)}  ${room}  ${fileSystem ?? "no file system"}${how}`;
  });
  const grows = "the root takes what a larger disk has at the first boot, by cfsboot-grow.service";
  return [
    `make a partition table on ${path} (${formatByteSize(size)})`,
    ...rows,
    ...(growsLater ? [grows] : []),
  ];
}

function putText({ kargs, verity, resumed, separateVar }: PutStep): string[] {
  const unfinished = "go on with what an installation that was not finished has left there";
  return [
    ...(resumed ? [unfinished] : []),
    ...(separateVar === null ? [] : [`/var is what is mounted on ${separateVar}`]),
    `kernel arguments besides the image's own: ${kargs.join(" ")}`,
    ...VERITY[verity],
  ];
}

const OPENERS: Readonly<Record<Opener, string>> = {
  passphrase: "encrypt the root (LUKS2): a passphrase opens it at each boot",
  tpm2: "encrypt the root (LUKS2): this machine's TPM opens it, as long as its PCR 7 stays (Secure Boot's keys)",
};

const VERITY: Readonly<Record<PutStep["verity"], readonly string[]>> = {
  required: [],
  "at-first-boot": ["fs-verity is turned on at the first boot, by cfsboot-seal.service"],
  none: ["without fs-verity: the kernel does not check what it reads"],
};

const LOADER_NAMES = { systemd: "systemd-boot", grub: "GRUB" } as const;
