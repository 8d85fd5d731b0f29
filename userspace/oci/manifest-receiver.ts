/**
 * A registry on the loopback that says it has every blob, and takes one manifest from whoever knows the password: so a
 * program that pushes an image to it gives away which manifest that is, and sends no blob.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { MAX_MANIFEST } from "../../src/formats/oci.ts";
import { type ManifestBytes, sha256Digest } from "./transport.ts";

export interface ManifestReceiver {
  /** `127.0.0.1:PORT` */
  readonly registry: string;
  /** Repository and tag. */
  readonly name: string;
  /** The manifest that was received. Throws if there was none. */
  manifest(): ManifestBytes;
  close(): Promise<void>;
}

const NAME = "image";
const TAG = "received";

/** Starts listening. Only who sends the user `cfsboot` with the password is let in. */
export async function receiveManifest(password: string): Promise<ManifestReceiver> {
  const expected = `Basic ${Buffer.from(`cfsboot:${password}`).toString("base64")}`;
  let manifest: ManifestBytes | undefined;
  const server = createServer((request, response) => {
    answer(request, response, expected).then(
      (received) => {
        manifest ??= received;
      },
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    registry: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    name: `${NAME}:${TAG}`,
    manifest() {
      if (manifest === undefined) throw new Error("skopeo copy: it sent no manifest");
      return manifest;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Answers one request; returns the manifest if it brought it. */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  authorization: string,
): Promise<ManifestBytes | undefined> {
  const { method = "", url = "" } = request;
  if (request.headers.authorization !== authorization) {
    response.writeHead(401, { "www-authenticate": 'Basic realm="cfsboot"' }).end();
    return undefined;
  }
  if (method === "GET" && url === "/v2/") {
    response.end("{}");
    return undefined;
  }
  if (method === "HEAD" && url.startsWith(`/v2/${NAME}/blobs/`)) {
    response.writeHead(200, { "content-length": 1 }).end();
    return undefined;
  }
  if (method !== "PUT" || url !== `/v2/${NAME}/manifests/${TAG}`) {
    response.writeHead(404).end();
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_MANIFEST) throw new Error("too large");
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(Buffer.concat(chunks));
  response.writeHead(201).end();
  return { bytes, mediaType: request.headers["content-type"], digest: sha256Digest(bytes) };
}
