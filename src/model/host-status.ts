/**
 * What `status` tells of a machine: bootc's document (`org.containers.bootc/v1`), with its names, types and order, and under
 * a key of our own what that has no place for.
 */
import type { OriginImage } from "../formats/origin.ts";
import { utcTimestamp } from "../formats/utc-timestamp.ts";
import type { Deployment, Leftovers, Machine, Slot, StateDirectory } from "./deployments.ts";
import { artifactOf } from "./menu-entry.ts";
import type { UpdateTrouble } from "./update-outcome.ts";

/** What an image's documents say of it. */
export interface ImageFacts {
  readonly version: string | undefined;
  /** RFC 3339, in any time zone. */
  readonly created: string | undefined;
  /** As OCI calls it. */
  readonly architecture: string;
}

export type BootLoaderName = "grub" | "grub-cc" | "systemd" | "none";

export interface UsrOverlay {
  readonly accessMode: "readOnly" | "readWrite";
  readonly persistence: "transient" | "persistent";
}

/** A file among the boot entries that boots nothing of ours. */
export interface ForeignEntry {
  readonly name: string;
  readonly title: string | null;
  /** Why no boot loader can use it. */
  readonly problem: string | null;
}

/** All that `status` is made of. */
export interface HostFacts {
  readonly machine: Machine;
  /** By deployment. */
  readonly images: ReadonlyMap<string, ImageFacts>;
  readonly bootLoader: BootLoaderName;
  /** Whether what runs was booted without fs-verity being demanded. */
  readonly insecure: boolean;
  readonly usrOverlay: UsrOverlay | undefined;
  /** Whether the disk can only be read. */
  readonly readOnly: boolean;
  /** Ids of the deployments that go when the staged one takes over. */
  readonly dropped: ReadonlySet<string>;
  readonly foreign: readonly ForeignEntry[];
  /** What went wrong with the last update. */
  readonly trouble: UpdateTrouble | undefined;
  /** What could not be made sense of, for people. */
  readonly warnings: readonly string[];
}

export interface ImageReference {
  readonly image: string;
  readonly transport: string;
  readonly signature?: "containerPolicy" | { readonly ostreeRemote: string };
}

export interface ImageStatus {
  readonly image: ImageReference;
  readonly version: string | null;
  readonly timestamp: string | null;
  readonly imageDigest: string;
  readonly architecture: string;
}

export interface BootEntry {
  readonly image: ImageStatus | null;
  readonly cachedUpdate: null;
  readonly incompatible: boolean;
  readonly pinned: boolean;
  readonly softRebootCapable: boolean;
  readonly downloadOnly: boolean;
  readonly store: null;
  readonly ostree: null;
  readonly composefs: {
    readonly verity: string;
    readonly bootType: "Bls" | "Uki";
    readonly bootloader: BootLoaderName;
    readonly bootDigest: string | null;
    readonly missingVerityAllowed: boolean;
  };
}

/** Of a deployment, what bootc has no place for. */
export interface DeploymentStatus {
  readonly index: number;
  readonly id: string;
  readonly slot: Slot;
  /** Whether it is booted next. */
  readonly next: boolean;
  readonly pinned: boolean;
  readonly downloadOnly: boolean;
  /** Whether it goes when the staged one takes over. */
  readonly dropped: boolean;
  /** Boots that are counted; `null`: they are not, or no longer. */
  readonly tries: { readonly left: number; readonly done: number } | null;
  readonly entry: string;
  readonly title: string | null;
  /** What its kernel is kept under. */
  readonly kernel: string;
  readonly options: string | null;
  readonly localKargs: { readonly added: readonly string[]; readonly deleted: readonly string[] };
  /** Why it would not come up. */
  readonly damage: readonly string[];
}

export interface HostStatus {
  readonly apiVersion: "org.containers.bootc/v1";
  readonly kind: "BootcHost";
  readonly metadata: { readonly name: "host" };
  readonly spec: {
    readonly image: ImageReference | null;
    readonly bootOrder: "default" | "rollback";
  };
  readonly status: {
    readonly staged: BootEntry | null;
    readonly booted: BootEntry | null;
    readonly rollback: BootEntry | null;
    /** Absent if there are none. */
    readonly otherDeployments?: readonly BootEntry[];
    readonly rollbackQueued: boolean;
    readonly type: "bootcHost" | null;
    readonly usrOverlay: UsrOverlay | null;
    readonly readOnly: boolean;
  };
  readonly cfsboot: {
    readonly version: 1;
    readonly deployments: readonly DeploymentStatus[];
    readonly leftovers: {
      readonly stagedMenu: boolean;
      readonly record: string | null;
      readonly states: readonly string[];
      readonly kernels: readonly string[];
    };
    /** What went wrong with the last update. */
    readonly trouble: UpdateTrouble | null;
    readonly foreignEntries: readonly ForeignEntry[];
    readonly warnings: readonly string[];
  };
}

/** The document. */
export function hostStatus(facts: HostFacts): HostStatus {
  const { machine } = facts;
  const entry = (one: Deployment | undefined) => (one === undefined ? null : bootEntry(one, facts));
  const { staged, booted } = machine;
  const image = staged?.state?.origin?.image ?? booted?.state?.origin?.image;
  return {
    apiVersion: "org.containers.bootc/v1",
    kind: "BootcHost",
    metadata: { name: "host" },
    spec: {
      image: image === undefined ? null : imageReference(image),
      bootOrder: machine.rollbackQueued ? "rollback" : "default",
    },
    status: {
      staged: entry(machine.staged),
      booted: entry(machine.booted),
      rollback: entry(machine.rollback),
      ...(machine.others.length > 0 && {
        otherDeployments: machine.others.map((one) => bootEntry(one, facts)),
      }),
      rollbackQueued: machine.rollbackQueued,
      type: null,
      usrOverlay: facts.usrOverlay ?? null,
      readOnly: facts.readOnly,
    },
    cfsboot: {
      version: 1,
      deployments: machine.deployments.map((one, index) => deploymentStatus(one, index, facts)),
      leftovers: leftoversStatus(machine.leftovers),
      trouble: facts.trouble ?? null,
      foreignEntries: facts.foreign,
      warnings: facts.warnings,
    },
  };
}

/** The document of a machine of which nothing is known to be booted by composefs. */
export function unknownHostStatus(warnings: readonly string[]): HostStatus {
  return hostStatus({
    machine: {
      deployments: [],
      staged: undefined,
      booted: undefined,
      rollback: undefined,
      others: [],
      rollbackQueued: false,
      leftovers: { stagedMenu: false, record: undefined, states: [], artifacts: [] },
    },
    images: new Map(),
    bootLoader: "none",
    insecure: false,
    usrOverlay: undefined,
    readOnly: false,
    dropped: new Set(),
    foreign: [],
    trouble: undefined,
    warnings,
  });
}

/** The document of a machine of which nothing can be seen but what runs, and perhaps the state and image of that. */
export function runningHostStatus(
  { id, insecure }: { readonly id: string; readonly insecure: boolean },
  warnings: readonly string[],
  state?: StateDirectory,
  facts?: ImageFacts,
): HostStatus {
  const { image, bootDigest = null, pinned = false } = state?.origin ?? {};
  const composefs = {
    verity: id,
    bootType: "Bls",
    bootloader: "none",
    bootDigest,
    missingVerityAllowed: insecure,
  } as const;
  const booted: BootEntry = {
    image: imageStatus({ state }, facts),
    cachedUpdate: null,
    incompatible: false,
    pinned,
    softRebootCapable: false,
    downloadOnly: false,
    store: null,
    ostree: null,
    composefs,
  };
  const unknown = unknownHostStatus(warnings);
  const spec = { ...unknown.spec, image: image === undefined ? null : imageReference(image) };
  return { ...unknown, spec, status: { ...unknown.status, booted } };
}

/** The same with nothing but what runs. */
export function onlyBooted(host: HostStatus): HostStatus {
  const { otherDeployments: _, ...status } = host.status;
  const deployments = host.cfsboot.deployments.filter(({ slot }) => slot === "booted");
  return {
    ...host,
    status: { ...status, staged: null, rollback: null },
    cfsboot: { ...host.cfsboot, deployments },
  };
}

/** The reference as bootc's document has it. */
export function imageReference({ transport, name, signature }: OriginImage): ImageReference {
  return { image: name, transport, ...(signature !== undefined && { signature }) };
}

function bootEntry(one: Deployment, facts: HostFacts): BootEntry {
  const origin = one.state?.origin;
  return {
    image: imageStatus(one, facts.images.get(one.id)),
    cachedUpdate: null,
    incompatible: false,
    pinned: one.pinned,
    softRebootCapable: false,
    downloadOnly: one.downloadOnly,
    store: null,
    ostree: null,
    composefs: {
      verity: one.id,
      bootType: one.entry.bootType === "uki" ? "Uki" : "Bls",
      bootloader: facts.bootLoader,
      bootDigest: origin?.bootDigest ?? null,
      // its entry may have changed since it was booted
      missingVerityAllowed: one.slot === "booted" ? facts.insecure : one.entry.insecure,
    },
  };
}

/** The image of a deployment, as far as that is known. */
export function imageStatus(
  { state }: Pick<Deployment, "state">,
  facts: ImageFacts | undefined,
): ImageStatus | null {
  const { image, manifestDigest } = state?.origin ?? {};
  if (image === undefined || manifestDigest === undefined) return null;
  return {
    image: imageReference(image),
    version: facts?.version ?? null,
    timestamp: facts?.created === undefined ? null : (utcTimestamp(facts.created) ?? null),
    imageDigest: manifestDigest,
    architecture: facts?.architecture ?? "",
  };
}

function deploymentStatus(one: Deployment, index: number, facts: HostFacts): DeploymentStatus {
  const { entry } = one;
  const { added, deleted } = one.state?.origin?.kargs ?? { added: [], deleted: [] };
  return {
    index,
    id: one.id,
    slot: one.slot,
    next: one === nextDeployment(facts.machine),
    pinned: one.pinned,
    downloadOnly: one.downloadOnly,
    dropped: facts.dropped.has(one.id),
    tries: entry.tries === undefined ? null : { left: entry.tries.left, done: entry.tries.done },
    entry: entry.fileName,
    title: entry.bls.title ?? null,
    kernel: entry.artifact,
    options: entry.bls.options ?? null,
    localKargs: { added, deleted },
    damage: one.damage,
  };
}

/** What is booted next, if all goes well: what is staged and not only downloaded, else the first of the menu. */
export function nextDeployment({ staged, deployments }: Machine): Deployment | undefined {
  if (staged !== undefined && !staged.downloadOnly) return staged;
  return deployments.find((one) => one !== staged);
}

function leftoversStatus(leftovers: Leftovers): HostStatus["cfsboot"]["leftovers"] {
  return {
    stagedMenu: leftovers.stagedMenu,
    record: leftovers.record ?? null,
    states: leftovers.states,
    kernels: leftovers.artifacts.map((name) => artifactOf(name) ?? name),
  };
}
