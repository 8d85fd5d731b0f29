/** Gathers what `status` tells. Writes nothing. */
import { parseImageInfo } from "../../src/formats/imginfo.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { errorText } from "../../src/linux/error-text.ts";
import { readFile } from "../../src/linux/files.ts";
import { type Deployment, type Machine, understand } from "../../src/model/deployments.ts";
import {
  type BootLoaderName,
  type HostFacts,
  type ImageFacts,
  type ImageStatus,
  imageStatus,
  type UsrOverlay,
} from "../../src/model/host-status.ts";
import { type UpdateTrouble, updateTrouble } from "../../src/model/update-outcome.ts";
import { openImage } from "../oci/image.ts";
import type { Repository } from "../repository/repository.ts";
import { DEPLOY, type Host, type Loader } from "./host.ts";
import { observe, type Sight } from "./observe.ts";
import { readUpdateRecord } from "./outcome.ts";
import { findLosses } from "./repair.ts";

const MAX_IMGINFO = 8 << 20;
const VERSION = "org.opencontainers.image.version";

const LOADER_NAMES: Readonly<Record<Loader, BootLoaderName>> = {
  "systemd-boot": "systemd",
  grub: "grub",
  "grub-cc": "grub-cc",
};

/** What the machine's directories do not say. */
export interface Surroundings {
  readonly usrOverlay: UsrOverlay | undefined;
  readonly readOnly: boolean;
}

/** Gathers it. */
export function hostFacts(
  host: Host,
  repository: Repository,
  { usrOverlay, readOnly }: Surroundings,
): HostFacts {
  const sight = observe(host, repository);
  const { seen, foreign, warnings } = sight;
  const machine = understand(seen);
  const more: string[] = [];
  const images = new Map<string, ImageFacts>();
  for (const one of machine.deployments) {
    const facts = imageFacts(host, repository, one, more);
    if (facts !== undefined) images.set(one.id, facts);
  }
  const staying = new Set(seen.stagedMenu?.map(({ id }) => id));
  const dropped = machine.deployments.filter(
    ({ id, pinned }) => machine.staged !== undefined && !staying.has(id) && !pinned,
  );
  return {
    machine,
    images,
    bootLoader: LOADER_NAMES[host.loader],
    insecure: host.running?.insecure ?? false,
    usrOverlay,
    readOnly,
    dropped: new Set(dropped.map(({ id }) => id)),
    foreign: foreign.map(({ displayName, title, problem }) => ({
      name: displayName,
      title: title ?? null,
      problem: problem ?? null,
    })),
    trouble: troubleOf(host, machine, more),
    warnings: [...warnings, ...more, ...lossWarnings(host, sight, machine)],
  };
}

const MEND = "cfsboot upgrade, or cfsboot rollback booted, writes";

/** What boot partitions have lost, and how it comes back. */
function lossWarnings(host: Host, sight: Sight, { booted }: Machine): string[] {
  const { entries, kernels, behind } = findLosses(host, sight);
  const { running } = host;
  const warnings: string[] = [];
  if (running !== undefined && booted === undefined) {
    const can = entries.includes(running.id) ? `: ${MEND} its entry again` : "";
    warnings.push(`What runs is not in the boot menu${can}.`);
  }
  if (kernels.length > 0) {
    const names = kernels.map(({ id }) => id.slice(0, 12)).join(", ");
    const where = host.places.map(({ path }) => path).join(" or ");
    warnings.push(`The kernel of ${names} is not whole on ${where}: ${MEND} it again.`);
  }
  for (const { path } of behind) {
    warnings.push(`The boot menu on ${path} lacks entries: ${MEND} them again.`);
  }
  return warnings;
}

function troubleOf(host: Host, machine: Machine, warnings: string[]): UpdateTrouble | undefined {
  try {
    return updateTrouble(readUpdateRecord(host), machine, host.bootId);
  } catch (error) {
    warnings.push(errorText(error));
    return undefined;
  }
}

/** The image of a deployment, as `status` shows it. */
export function imageStatusOf(
  host: Host,
  repository: Repository,
  one: Deployment,
): ImageStatus | null {
  return imageStatus(one, imageFacts(host, repository, one, []));
}

/** What the image's documents say, from the repository, or else from what early releases of bootc kept beside the origin. */
function imageFacts(
  host: Host,
  repository: Repository,
  { id, state }: Deployment,
  warnings: string[],
): ImageFacts | undefined {
  const digest = state?.origin?.manifestDigest;
  if (state === undefined) return undefined;
  try {
    if (digest === undefined) return imgInfo(host, id);
    const { manifest, config } = openImage(repository, `@${digest}`);
    return {
      version: manifest?.document.annotations[VERSION] ?? config.document?.labels.get(VERSION),
      created: config.document?.created,
      architecture: config.document?.architecture ?? "",
    };
  } catch (error) {
    const older = imgInfo(host, id);
    if (older === undefined) warnings.push(`${id.slice(0, 12)}: ${errorText(error)}`);
    return older;
  }
}

function imgInfo({ linux, sysroot }: Host, id: string): ImageFacts | undefined {
  try {
    const name = `${id}.imginfo`;
    const bytes = withDirectory(linux, sysroot, `${DEPLOY}/${id}`, (directory) =>
      readFile(linux, directory, name, MAX_IMGINFO),
    );
    const { version, created, architecture } = parseImageInfo(bytes, name);
    return { version, created, architecture: architecture ?? "" };
  } catch {
    return undefined; // few have one
  }
}
