/** What the errors of connections mean: whether trying again may help, and what people are told. */

/** The codes of an error and of what caused it. */
export function errorCodes(error: unknown): string[] {
  const codes: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (typeof code === "string") codes.push(code);
  }
  return codes;
}

const TRANSIENT = new Set([
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "UND_ERR_SOCKET",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_RES_CONTENT_LENGTH_MISMATCH",
]);

/** Whether trying again may help. `patient`: also when nobody listens, as while a server restarts. */
export function isTransient(error: unknown, patient: boolean): boolean {
  return errorCodes(error).some(
    (code) => TRANSIENT.has(code) || (patient && (code === "ECONNREFUSED" || code === "ENOTFOUND")),
  );
}

/** Whether nobody answered a request in time, however often it was tried. */
export function isSilence(error: unknown): boolean {
  return errorCodes(error).some(
    (code) => code === "UND_ERR_CONNECT_TIMEOUT" || code === "UND_ERR_HEADERS_TIMEOUT",
  );
}

const NO_TLS = [
  "ERR_SSL_WRONG_VERSION_NUMBER",
  "ERR_SSL_PACKET_LENGTH_TOO_LONG",
  "ERR_SSL_HTTP_REQUEST",
];

const UNKNOWN_AUTHORITY = [
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
];

/** The error that says it, with what can be done about it. */
export function plainError(error: unknown): unknown {
  // one cause per address that was tried, and no message of its own
  if (error instanceof AggregateError && error.errors.length > 0)
    return plainError(error.errors[0]);
  const codes = errorCodes(error);
  const noTls = codes.find((one) => NO_TLS.includes(one));
  if (noTls !== undefined) {
    const hint = "--tls-verify=false allows HTTP";
    return Object.assign(new Error("whoever answers does not speak TLS"), { code: noTls, hint });
  }
  const code = codes.find((one) => UNKNOWN_AUTHORITY.includes(one));
  if (code === undefined) return error;
  // Node may add advice that is for those who run a script
  return Object.assign(new Error((error as Error).message.replace(/;.*/s, "")), {
    code,
    hint: "add its CA to the system's, or as /etc/containers/certs.d/HOST:PORT/ca.crt",
  });
}
