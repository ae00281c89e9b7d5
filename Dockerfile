# The image holds the static binary, CA certificates and nothing else: no shell, no libraries.
# Its build context is assembled by `make image`, which is how to build it.
#
#   docker run --rm --volume "$PWD/pipelines:/etc/tunnelog:ro" --volume tunnelog:/data \
#       --publish 127.0.0.1:8077:8077 --env STATUS_LISTEN=0.0.0.0:8077 \
#       --env AWS_REGION --env KINESIS_STREAM --env KAFKA_BROKERS tunnelog:VERSION run /etc/tunnelog/siem-kafka.yaml
#
# After a change of the pipeline file: docker kill --signal HUP NAME
#
# In a container the status page must listen on 0.0.0.0:8077, and standard error is JSON lines.
FROM scratch
ARG VERSION

LABEL org.opencontainers.image.title="tunnelog" \
      org.opencontainers.image.description="Stream processor for the logs of AWS Site-to-Site VPN" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

COPY LICENSE /LICENSE
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Checkpoints and files. Owned by the user below, so that a named volume is writable from the start; a
# folder of the host that is mounted here must be writable for 65532.
COPY --chown=65532:65532 data /data
COPY tunnelog /tunnelog

# No /etc/passwd: the number is the user, and Kubernetes' runAsNonRoot wants a number.
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8077
# SIGTERM drains and commits; give it more than `limits.shutdown_grace`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/tunnelog"]
