/**
 * What a command does to a machine, a step at a time: plain data for scripts (`--json`), with the words for people beside
 * it. Deployments are named by their ids, kernels by the ids that they are kept under.
 */
import type { Machine } from "./deployments.ts";
import type { InstallStep } from "./install-steps.ts";
import { artifactName } from "./menu-entry.ts";
import type { MenuPlan } from "./menu-plan.ts";
import { deploymentText } from "./menu-text.ts";
import { megabytes } from "./size-text.ts";

/** A step that `stepText` has words for. */
export type Step = MenuStep | StagingStep | GarbageStep | OtherStep;

/** Others, of which people are told otherwise: of an installation by `installText`. */
export type UntoldStep =
  | InstallStep
  /** Of the repository; `images` and `streams` are names of such that went. */
  | {
      readonly do: "remove-objects";
      readonly objects: number;
      readonly bytes: number;
      readonly images: number;
      readonly streams: number;
    }
  | { readonly do: "mount-usr-overlay"; readonly accessMode: "readOnly" | "readWrite" }
  /** It is trimmed, and frozen for a moment. */
  | { readonly do: "finish-file-system"; readonly path: string }
  | { readonly do: "mount"; readonly id: string; readonly path: string; readonly readOnly: boolean }
  /** fs-verity is turned on for so many objects that had none. */
  | { readonly do: "seal-objects"; readonly objects: number }
  /** The entries of a deployment require fs-verity. */
  | { readonly do: "require-verity"; readonly id: string }
  /** `size` in bytes. */
  | {
      readonly do: "grow-partition";
      readonly disk: string;
      readonly number: number;
      readonly size: number;
    }
  | { readonly do: "grow-file-system"; readonly path: string };

export type MenuStep =
  /** What a boot partition has lost is written again. */
  | {
      readonly do: "write-kernel";
      readonly kernel: string;
      readonly release: string;
      readonly path: string;
    }
  | { readonly do: "write-entry"; readonly id: string; readonly options: string }
  /** The boot menu has these entries then, in this order. */
  | { readonly do: "write-menu"; readonly menu: readonly string[] }
  /** The deployment can no longer be booted. */
  | { readonly do: "drop"; readonly id: string };

export type StagingStep =
  /** `layers`: those that are fetched, and all; `bytes` is what is fetched. */
  | {
      readonly do: "fetch";
      readonly image: string;
      readonly imageDigest: string;
      readonly layers: { readonly missing: number; readonly all: number; readonly bytes: number };
    }
  /** All of it is in the repository. */
  | { readonly do: "take"; readonly image: string; readonly imageDigest: string }
  /** A deployment goes, so that there is room on a boot partition. */
  | { readonly do: "delete"; readonly id: string }
  /** `id` and `kernel` (its release) are not known before the image is there. */
  | {
      readonly do: "stage";
      readonly id: string | null;
      readonly kernel: string | null;
      readonly downloadOnly: boolean;
      readonly follows: string;
    }
  /** What was only downloaded takes over at shutdown. */
  | { readonly do: "unlock"; readonly id: string }
  /** The deployment follows another reference. */
  | { readonly do: "adopt"; readonly id: string; readonly follows: string }
  /** What no deployment needs any more goes; which that is, is not known before. */
  | { readonly do: "collect" };

export type GarbageStep =
  | { readonly do: "remove-record" }
  | { readonly do: "remove-staged-menu" }
  | { readonly do: "rename-kernel"; readonly kernel: string }
  | { readonly do: "remove-kernel"; readonly kernel: string }
  | { readonly do: "remove-state"; readonly id: string }
  | { readonly do: "tag"; readonly tag: string }
  | { readonly do: "untag"; readonly tag: string }
  /** Of bootc's containers-storage. */
  | { readonly do: "remove-container"; readonly image: string }
  /** Nothing is done to what a boot entry may need that cannot be read; `problem` says why. */
  | {
      readonly do: "keep";
      readonly entry: string;
      readonly problem: string;
      /** Of deployments with these ids. */
      readonly states: readonly string[];
      readonly kernels: readonly string[];
    };

export type OtherStep =
  | { readonly do: "pin" | "unpin"; readonly id: string }
  /** The kernel's arguments. */
  | { readonly do: "set-options"; readonly id: string; readonly options: string };

/** A menu that is put in place at once. */
export function menuSteps({ menu, dropped }: MenuPlan): MenuStep[] {
  return [
    { do: "write-menu", menu: menu.map(({ id }) => id) },
    ...dropped.map(({ id }): MenuStep => ({ do: "drop", id })),
  ];
}

/** A step for people, as that which is to be done. */
export function stepText(step: Step, machine: Machine): string {
  const name = (id: string) => {
    const one = machine.deployments.find((deployment) => deployment.id === id);
    return one === undefined ? short(id) : deploymentText(machine, one);
  };
  switch (step.do) {
    case "write-kernel":
      return `write kernel ${step.release} again to ${step.path}, as ${short(step.kernel)}`;
    case "write-entry":
      return `write the entry of ${short(step.id)} again: ${step.options}`;
    case "write-menu":
      return `write the boot menu: ${step.menu.map(short).join(", ") || "none of ours"}`;
    case "drop":
      return `drop the deployment ${name(step.id)}`;
    case "fetch": {
      const { missing, all, bytes } = step.layers;
      return `fetch ${step.image} (${step.imageDigest}): ${missing} of ${all} layers, ${megabytes(bytes)}`;
    }
    case "take":
      return `take ${step.image} (${step.imageDigest}) from the repository`;
    case "delete":
      return `delete the deployment ${name(step.id)}, to make room`;
    case "stage": {
      const id = step.id === null ? "" : ` as ${short(step.id)}`;
      const kernel = step.kernel === null ? "" : `, with kernel ${step.kernel}`;
      const locked = step.downloadOnly ? ", locked" : "";
      return `stage it${id}${locked}${kernel}; it follows ${step.follows}`;
    }
    case "unlock":
      return `unlock ${name(step.id)}`;
    case "adopt":
      return `make it so that ${name(step.id)} follows ${step.follows}`;
    case "collect":
      return "remove what no deployment needs any more";
    case "remove-record":
      return "remove the record of what was staged";
    case "remove-staged-menu":
      return "remove the staged boot menu that nothing belongs to";
    case "rename-kernel":
      return `give kernel ${short(step.kernel)} the name that it has today: ${artifactName(short(step.kernel))}…`;
    case "remove-kernel":
      return `remove kernel ${short(step.kernel)}`;
    case "remove-state":
      return `remove state of ${short(step.id)}`;
    case "tag":
    case "untag":
      return `${step.do} ${step.tag}`;
    case "remove-container":
      return `remove image ${step.image} from bootc's containers-storage`;
    case "keep":
      return `${step.entry} cannot be read (${step.problem}): ${keptText(step)} kept for it`;
    case "pin":
    case "unpin":
      return `${step.do} the deployment ${name(step.id)}`;
    case "set-options":
      return `${name(step.id)}: ${step.options}`;
  }
}

function keptText({ states, kernels }: Extract<GarbageStep, { do: "keep" }>): string {
  const list = (name: string, ids: readonly string[]) =>
    ids.length === 0 ? [] : [`${name} ${ids.map(short).join(", ")}`];
  const things = [...list("state of", states), ...list("kernel", kernels)];
  return things.length === 0 ? "what it may need is" : `${things.join(" and ")} are`;
}

function short(id: string): string {
  return id.slice(0, 12);
}
