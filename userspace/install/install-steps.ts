/** What an installation does, as steps: what `describeDisk` and `describeMounted` tell people. */
import type { BootLoader } from "../../src/formats/install-toml.ts";
import type { InstallStep } from "../../src/model/steps.ts";
import type { DiskPlan } from "./disk-plan.ts";
import type { MountedPlan } from "./mounted-plan.ts";

/** What there is to know besides the plan. */
export interface Installation {
  /** The deployment; `null`: it is not known before the image is there. */
  readonly id: string | null;
  /** The reference that upgrades follow. */
  readonly follows: string;
  /** Whether the firmware is told. */
  readonly firmware: boolean;
  /** What opens an encrypted root besides the TPM, if one was made. */
  readonly recoveryKey?: string | undefined;
}

/** On a disk, or a file that becomes one. */
export function diskSteps(plan: DiskPlan, made: Installation): InstallStep[] {
  const { recoveryKey = null } = made;
  const { path, diskSize, partitions, encryption, insecure, sealedLater } = plan;
  const table: InstallStep = {
    ...{ do: "partition", path, size: diskSize },
    partitions: partitions.map(({ name, size, fileSystem = null }) => ({ name, size, fileSystem })),
  };
  const encrypt: InstallStep[] =
    encryption === undefined ? [] : [{ do: "encrypt", opener: encryption.opener, recoveryKey }];
  const verity = insecure ? "none" : sealedLater ? "at-first-boot" : "required";
  return [table, ...encrypt, ...installSteps(plan.path, plan, verity, made)];
}

/** Into mounted file systems. */
export function mountedSteps(plan: MountedPlan, made: Installation): InstallStep[] {
  return installSteps(plan.root, plan, plan.insecure ? "none" : "required", made);
}

type Verity = "required" | "at-first-boot" | "none";

function installSteps(
  path: string,
  { bootLoader, kargs }: { readonly bootLoader: BootLoader; readonly kargs: readonly string[] },
  verity: Verity,
  { id, follows, firmware }: Installation,
): InstallStep[] {
  return [
    { do: "install", id, path, follows, kargs, verity },
    ...(bootLoader === "none" ? [] : [{ do: "install-boot-loader", bootLoader } as const]),
    ...(firmware ? [{ do: "tell-firmware" } as const] : []),
  ];
}
