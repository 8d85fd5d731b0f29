/** How two images differ. */
import { type KargChanges, kargChanges } from "../../src/formats/kargs.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { findKernels, findUkis } from "../../src/model/boot-resources.ts";
import { findDeployment, type Machine } from "../../src/model/deployments.ts";
import { diffPackages, type PackageChange } from "../../src/model/package-diff.ts";
import { diffTrees, type TreeChange } from "../../src/model/tree-diff.ts";
import { imageTree } from "../oci/commit.ts";
import { openImage, type StoredImage } from "../oci/image.ts";
import { currentPlatform } from "../oci/platform.ts";
import type { Repository } from "../repository/repository.ts";
import { kargsOf, readImageTree } from "./image-facts.ts";
import { readPackages } from "./packages.ts";

/** One side of the comparison. */
export interface Side {
  readonly name: string;
  readonly tree: Tree;
  readonly architecture: string;
}

export interface ImageDiff {
  /** Releases of kernels, and paths of unified kernel images. */
  readonly kernels: { readonly before: readonly string[]; readonly after: readonly string[] };
  /** Of the images, not of the machine. */
  readonly kargs: KargChanges;
  /** `undefined`: not both have a database that can be read. */
  readonly packages: readonly PackageChange[] | undefined;
  readonly files: readonly TreeChange[];
  /** What could not be compared, for people. */
  readonly warnings: readonly string[];
}

/** Opens a deployment, or else an image of the repository by its tag or `@sha256:…`. Throws if it is neither. */
export function openSide(repository: Repository, machine: Machine, name: string): Side {
  const deployment = deploymentNamed(machine, name);
  if (deployment === undefined) {
    const image = openImage(repository, name);
    const tree = imageTree(repository, image, { bootable: true });
    return { name, tree, architecture: architectureOf(image) };
  }
  const digest = deployment.state?.origin?.manifestDigest;
  return {
    name: `${deployment.id.slice(0, 12)} (${deployment.slot})`,
    tree: readImageTree(repository, deployment.id),
    architecture: architectureOf(
      digest === undefined ? undefined : openImage(repository, `@${digest}`),
    ),
  };
}

function deploymentNamed(machine: Machine, name: string) {
  if (name.startsWith("@") || /[/:]/.test(name)) return undefined; // no name of a deployment
  try {
    return findDeployment(machine, name);
  } catch (error) {
    if (/^([0-9]+|[0-9a-f]{12,}|booted|staged|rollback)$/.test(name)) throw error;
    return undefined;
  }
}

function architectureOf(image: StoredImage | undefined): string {
  return image?.config.document?.architecture ?? currentPlatform().architecture;
}

/** Compares them. */
export function diffImages(repository: Repository, before: Side, after: Side): ImageDiff {
  const warnings: string[] = [];
  const packages = (side: Side) => {
    try {
      return readPackages(repository, side.tree);
    } catch (error) {
      const { message, cause } = error as Error;
      const why = cause instanceof Error ? `: ${cause.message}` : "";
      warnings.push(`packages of ${side.name}: ${message}${why}`);
      return undefined;
    }
  };
  const [was, is] = [packages(before), packages(after)];
  const kernels = ({ tree }: Side) => [
    ...findKernels(tree).map(({ release }) => release),
    ...findUkis(tree).map(({ path }) => path),
  ];
  const kargs = ({ tree, architecture }: Side) => kargsOf(repository, tree, architecture);
  return {
    kernels: { before: kernels(before), after: kernels(after) },
    kargs: kargChanges(kargs(before), kargs(after)),
    packages: was === undefined || is === undefined ? undefined : diffPackages(was, is),
    files: diffTrees(before.tree, after.tree),
    warnings,
  };
}
