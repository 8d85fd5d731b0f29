/** The steps of a planned installation. */
import type { InstallStep, PutStep } from "../../src/model/install-steps.ts";
import type { DiskPlan } from "./disk-plan.ts";
import type { MountedPlan } from "./mounted-plan.ts";

/** What there is to know besides the plan. */
export interface Installation extends Pick<PutStep, "id" | "follows"> {
  /** Whether the firmware is told. */
  readonly firmware: boolean;
  /** What opens an encrypted root besides the TPM, if one was made. */
  readonly recoveryKey?: string | undefined;
}

/** On a disk, or a file that becomes one. */
export function diskSteps(plan: DiskPlan, made: Installation): InstallStep[] {
  const { id, follows, recoveryKey = null } = made;
  const { path, diskSize, partitions, encryption, insecure, sealedLater, growsLater } = plan;
  const verity = insecure ? "none" : sealedLater ? "at-first-boot" : "required";
  return [
    {
      ...{ do: "partition", path, size: diskSize, growsLater },
      partitions: partitions.map(({ name, size, fileSystem = null }) => ({
        ...{ name, size, fileSystem },
      })),
    },
    ...(encryption === undefined
      ? []
      : [{ do: "encrypt", opener: encryption.opener, recoveryKey } as const]),
    {
      ...{ do: "install", id, path, follows, kargs: plan.kargs, verity },
      ...{ resumed: false, separateVar: null },
    },
    ...loaderSteps(plan, null, made),
  ];
}

/** Into mounted file systems. */
export function mountedSteps(plan: MountedPlan, made: Installation): InstallStep[] {
  const { root, kargs, insecure, resumed, separateVar = null, esp = null } = plan;
  const { id, follows } = made;
  const verity = insecure ? "none" : "required";
  return [
    { do: "install", id, path: root, follows, kargs, verity, resumed, separateVar },
    ...loaderSteps(plan, esp, made),
  ];
}

function loaderSteps(
  { bootLoader }: Pick<DiskPlan, "bootLoader">,
  esp: string | null,
  { firmware }: Installation,
): InstallStep[] {
  return [
    ...(bootLoader === "none" ? [] : [{ do: "install-boot-loader", bootLoader, esp } as const]),
    ...(firmware ? [{ do: "tell-firmware" } as const] : []),
  ];
}
