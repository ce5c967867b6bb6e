# docker build -t hsta . && docker run -it hsta
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /study
COPY . .
RUN make setup
CMD ["bash"]
